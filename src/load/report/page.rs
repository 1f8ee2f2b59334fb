//! PURE. Reports as pages: one file each, which loads nothing from anywhere.
//!
//! What lives here: the templates of `page/` and their filters. What does not: what is on the
//! plots ([`super::plots`]).

use bytesize::ByteSize;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};

use super::Report;
use super::chart::{Chart, Drawing};
use super::compare::Section;
use super::plots;
use super::text;

/// Percentiles that people ask for by name.
const SHOWN_PERCENTILES: [f64; 7] = [50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];

const TEMPLATES: [(&str, &str); 5] = [
    ("base.html", include_str!("page/base.html")),
    ("charts.html", include_str!("page/charts.html")),
    ("compare.html", include_str!("page/compare.html")),
    ("figure.html", include_str!("page/figure.html")),
    ("report.html", include_str!("page/report.html")),
];

/// The page of a run.
///
/// # Errors
/// If a template is wrong, which the tests would have told.
pub fn report(report: &Report) -> Result<String, minijinja::Error> {
    let drawings = draw(&plots::of_run(report));
    let knee = plots::knee(report).map(|charts| one_picture(&draw(&charts)));
    let title = format!("hydrant load {}: {}", report.kind, report.target);
    let shown_percentiles = SHOWN_PERCENTILES;
    let has_wire = report.has_wire();
    render(
        "report.html",
        context! {
            report => Serde(report),
            drawings => Serde(drawings),
            knee => Serde(knee),
            title,
            shown_percentiles,
            has_wire,
        },
    )
}

/// The page of two runs.
///
/// # Errors
/// As for [`report`].
pub fn comparison(
    (a, b): (&Report, &Report),
    sections: &[Section],
    settings: &[[String; 3]],
) -> Result<String, minijinja::Error> {
    let drawings = draw(&plots::of_two(a, b));
    let title = "hydrant load: two runs compared";
    render(
        "compare.html",
        context! {
            a => Serde(a),
            b => Serde(b),
            sections => Serde(sections),
            drawings => Serde(drawings),
            title,
            settings => Serde(settings),
        },
    )
}

/// Charts under each other with one legend. What is in several of them is named once.
fn one_picture(drawings: &[Drawing]) -> Drawing {
    let mut picture = Drawing {
        title: drawings[0].title.clone(),
        svg: String::new(),
        legend: Vec::new(),
    };
    for drawing in drawings {
        picture.svg += &drawing.svg;
        for entry in &drawing.legend {
            if !picture.legend.contains(entry) {
                picture.legend.push(entry.clone());
            }
        }
    }
    picture
}

fn draw(charts: &[Chart]) -> Vec<Drawing> {
    charts.iter().map(Chart::draw).collect()
}

fn render(name: &str, context: Value) -> Result<String, minijinja::Error> {
    let mut pages = Environment::new();
    pages.add_filter("count", text::count);
    pages.add_filter("ms", text::ms);
    pages.add_filter("percent", text::percent);
    pages.add_filter("bytes", |bytes: u64| ByteSize(bytes).to_string());
    for (name, template) in TEMPLATES {
        pages.add_template(name, template)?;
    }
    pages.get_template(name)?.render(context)
}
