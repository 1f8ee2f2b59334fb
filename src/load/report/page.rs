//! PURE. Reports as pages: one file each, which loads nothing from anywhere.
//!
//! What lives here: the templates of `page/` and their filters. What does not: what is on the
//! plots ([`super::plots`]).

use std::collections::BTreeSet;

use bytesize::ByteSize;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};

use super::Report;
use super::chart::{Chart, Drawing};
use super::compare::Difference;
use super::plots;
use super::text;

/// Percentiles that people ask for by name.
const SHOWN_PERCENTILES: [f64; 7] = [50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];

const TEMPLATES: [(&str, &str); 4] = [
    ("base.html", include_str!("page/base.html")),
    ("charts.html", include_str!("page/charts.html")),
    ("compare.html", include_str!("page/compare.html")),
    ("report.html", include_str!("page/report.html")),
];

/// The page of a run.
///
/// # Errors
/// If a template is wrong, which the tests would have told.
pub fn report(report: &Report) -> Result<String, minijinja::Error> {
    let drawings = draw(&plots::of_run(report));
    let title = format!("hydrant load {}: {}", report.kind, report.target);
    let shown_percentiles = SHOWN_PERCENTILES;
    let has_wire = report.has_wire();
    render(
        "report.html",
        context! {
            report => Serde(report),
            drawings => Serde(drawings),
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
    a: &Report,
    b: &Report,
    differences: &[Difference],
) -> Result<String, minijinja::Error> {
    let drawings = draw(&plots::of_two(a, b));
    let title = "hydrant load: two runs compared";
    let changed = changed_settings(a, b);
    render(
        "compare.html",
        context! {
            a => Serde(a),
            b => Serde(b),
            differences => Serde(differences),
            drawings => Serde(drawings),
            title,
            changed,
        },
    )
}

/// Settings of which the two runs had different values: name, A's, B's.
fn changed_settings(a: &Report, b: &Report) -> Vec<[String; 3]> {
    let names: BTreeSet<&str> = a
        .parameters
        .iter()
        .chain(&b.parameters)
        .map(|parameter| parameter.name.as_str())
        .collect();
    let value = |report: &Report, name: &str| {
        let mut parameters = report.parameters.iter();
        let found = parameters.find(|parameter| parameter.name == name);
        found.map_or_else(|| "not set".to_owned(), |parameter| parameter.value.clone())
    };
    names
        .into_iter()
        .map(|name| [name.to_owned(), value(a, name), value(b, name)])
        .filter(|[_, a, b]| a != b)
        .collect()
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
