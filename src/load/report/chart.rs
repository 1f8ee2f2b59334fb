//! PURE. Line charts as SVG texts that can stand in a page.
//!
//! What lives here: axes, lines and their colours, which read on light and on dark ground. What
//! does not: what is drawn ([`super::plots`]).

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;
use serde::Serialize;

use super::text::{count, ms};

/// Pixels; the page scales them.
const SIZE: (u32, u32) = (520, 270);
/// Points that a line of that width can show; longer ones are thinned.
const MOST_POINTS: usize = 1_000;
const LABEL_SIZE: u32 = 15;
const GREY: RGBColor = RGBColor(128, 128, 128);

/// Colours in the order in which a chart's lines take them.
const COLORS: [RGBColor; 4] = [
    RGBColor(0x2f, 0x7e, 0xd8),
    RGBColor(0xe0, 0x7b, 0x1f),
    RGBColor(0x2c, 0x9c, 0x6a),
    RGBColor(0xa0, 0x55, 0xc4),
];
/// The colour of seconds in which nothing is acknowledged.
const STALL_COLOR: RGBColor = RGBColor(0xd9, 0x9a, 0x1c);
/// A limit that is so many times over everything else is drawn above a break of the axis, so that it flattens nothing.
const FAR_LIMIT: f64 = 2.0;
/// Where that limit is, and where the axis ends, as parts of the axis below the break.
const FAR_PLACE: f64 = 1.13;
const FAR_END: f64 = 1.25;
/// The colour of what must not be passed.
const LIMIT_COLOR: RGBColor = RGBColor(0xd6, 0x3f, 0x3f);

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something measured.
    Measured,
    /// Something planned: grey and dashed.
    Planned,
    /// A limit: red and dashed.
    Limit,
}

/// A line. Points without a value leave a gap.
#[derive(Debug, Clone)]
pub struct Line {
    /// For the legend.
    pub name: String,
    /// What it means.
    pub kind: Kind,
    /// From left to right.
    pub points: Vec<(f64, Option<f64>)>,
}

/// What numbers on an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AxisUnit {
    /// Plain numbers.
    Count,
    /// Milliseconds, on a logarithmic scale.
    Latency,
    /// Per cent.
    Percent,
    /// Bytes, with binary prefixes as everywhere else.
    Bytes,
    /// Seconds.
    Seconds,
    /// Percentiles, stretched so that each further nine takes as much room.
    Percentile,
}

/// Places that follow each other without a gap.
type Run = Vec<(f64, f64)>;

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub across: AxisUnit,
    /// The vertical axis.
    pub up: AxisUnit,
    /// The ends of the horizontal axis, if they are not those of the lines: charts of one run have the same.
    pub ends: Option<(f64, f64)>,
    /// What is drawn.
    pub lines: Vec<Line>,
    /// Parts of the horizontal axis that are shaded.
    pub shades: Vec<Shade>,
    /// A place on the horizontal axis that is marked, and what it is.
    pub mark: Option<(f64, String)>,
}

/// A part of the horizontal axis in which the target was silent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shade {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Whether the target was never heard again.
    pub is_death: bool,
}

impl Shade {
    fn color(self) -> RGBColor {
        if self.is_death {
            LIMIT_COLOR
        } else {
            STALL_COLOR
        }
    }

    fn name(self) -> &'static str {
        if self.is_death {
            "nothing acknowledged, to the end"
        } else {
            "nothing acknowledged"
        }
    }
}

/// An entry of a legend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LegendEntry {
    name: String,
    color: String,
    style: &'static str,
}

impl LegendEntry {
    fn new(name: &str, RGBColor(red, green, blue): RGBColor, style: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            color: format!("#{red:02x}{green:02x}{blue:02x}"),
            style,
        }
    }
}

/// An axis that has no numbers above its break.
struct Broken {
    whole: RangedCoordf64,
    labelled: RangedCoordf64,
}

impl Ranged for Broken {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.whole.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.labelled.key_points(hint)
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.whole.range()
    }
}

/// A vertical axis: what its numbers are divided by, and what stands beside it.
struct Scale {
    unit: AxisUnit,
    divisor: f64,
    prefix: &'static str,
    bottom: f64,
    /// The end of the axis, and of the part below a break.
    top: f64,
    unbroken: f64,
    /// The limit that is above the break.
    far_limit: Option<f64>,
}

impl Scale {
    /// The scale that shows these values. `limit` is the highest of the limits.
    fn of(unit: AxisUnit, values: &[f64], limit: Option<f64>) -> Self {
        const PREFIXES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let most = values.iter().copied().fold(0.0, f64::max);
        let power = match unit {
            AxisUnit::Bytes if most >= 1.0 => (most.log2() / 10.0).floor().min(4.0),
            _ => 0.0,
        };
        let divisor = 1_024_f64.powf(power);
        let far_limit = limit
            .filter(|limit| unit != AxisUnit::Latency && most > 0.0 && *limit > most * FAR_LIMIT);
        let shown = values
            .iter()
            .copied()
            .chain(limit.filter(|_| far_limit.is_none()));
        let places: Vec<f64> = shown.map(|value| unit.place(value / divisor)).collect();
        let (bottom, unbroken) = unit.ends(&places);
        Self {
            unit,
            divisor,
            prefix: PREFIXES[power as usize],
            bottom,
            top: if far_limit.is_some() {
                unbroken * FAR_END
            } else {
                unbroken
            },
            unbroken,
            far_limit,
        }
    }

    fn place(&self, kind: Kind, value: f64) -> f64 {
        match (kind, self.far_limit) {
            (Kind::Limit, Some(_)) => self.unbroken * FAR_PLACE,
            _ => self.unit.place(value / self.divisor),
        }
    }

    fn label(&self, place: f64) -> String {
        match self.unit {
            AxisUnit::Bytes => format!("{} {}", count(place), self.prefix),
            unit => unit.label(place),
        }
    }
}

/// A chart, drawn.
#[derive(Debug, Clone, Serialize)]
pub struct Drawing {
    /// What it shows.
    pub title: String,
    /// SVG.
    pub svg: String,
    /// What its lines are.
    pub legend: Vec<LegendEntry>,
}

impl AxisUnit {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Latency => value.max(0.01).log10(),
            Self::Percentile => -(1.0 - value / 100.0).max(1e-5).log10(),
            _ => value,
        }
    }

    fn label(self, place: f64) -> String {
        match self {
            Self::Latency => ms(10_f64.powf(place))
                .replace(".00 s", " s")
                .replace(".0 ms", " ms"),
            Self::Percentile => {
                let percentile = 100.0 * (1.0 - 10_f64.powf(-place));
                format!("{}%", (percentile * 1e4).round() / 1e4)
            }
            Self::Percent => format!("{}%", count(place)),
            Self::Seconds => format!("{place:.0} s"),
            Self::Count | Self::Bytes => count(place),
        }
    }

    /// The ends of an axis that shows these places.
    fn ends(self, places: &[f64]) -> (f64, f64) {
        let least = places.iter().copied().fold(f64::INFINITY, f64::min);
        let most = places.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self {
            _ if places.is_empty() => (0.0, 1.0),
            Self::Latency => (least.floor(), most.ceil().max(least.floor() + 1.0)),
            Self::Percentile => (0.0, most.ceil().max(1.0)),
            Self::Seconds => (0.0, most.max(1.0)),
            // Room for the line itself below the edge.
            _ => (0.0, if most > 0.0 { most * 1.08 } else { 1.0 }),
        }
    }

    /// How many labels an axis from one end to the other has: one for each power on those that
    /// have powers.
    fn label_count(self, (from, to): (f64, f64)) -> usize {
        match self {
            Self::Latency | Self::Percentile => (to - from).round() as usize + 1,
            _ => 6,
        }
    }
}

impl Chart {
    /// Draws it.
    #[must_use]
    pub fn draw(&self) -> Drawing {
        let mut svg = String::new();
        let mut colors = COLORS.iter().cycle();
        let styled: Vec<(&Line, RGBColor)> = self
            .lines
            .iter()
            .map(|line| match line.kind {
                Kind::Measured => (line, *colors.next().unwrap_or(&GREY)),
                Kind::Planned => (line, GREY),
                Kind::Limit => (line, LIMIT_COLOR),
            })
            .collect();
        // The backend only appends to a text, which cannot fail.
        let _ = self.draw_lines(&mut svg, &styled);
        let lines = styled.iter().map(|(line, color)| {
            let is_measured = line.kind == Kind::Measured;
            let style = if is_measured { "line" } else { "dashed" };
            LegendEntry::new(&line.name, *color, style)
        });
        let mut legend: Vec<_> = lines.collect();
        for is_death in [false, true] {
            let shade = self.shades.iter().find(|shade| shade.is_death == is_death);
            legend.extend(shade.map(|it| LegendEntry::new(it.name(), it.color(), "area")));
        }
        if let Some((_, name)) = &self.mark {
            legend.push(LegendEntry::new(name, GREY, "line"));
        }
        Drawing {
            title: self.title.clone(),
            legend,
            svg,
        }
    }

    fn draw_lines(&self, svg: &mut String, styled: &[(&Line, RGBColor)]) -> Result<(), String> {
        let scale = self.scale();
        let across = self.lines.iter().flat_map(|line| &line.points);
        let across: Vec<f64> = across.map(|(x, _)| self.across.place(*x)).collect();
        let (left, right) = self.ends.unwrap_or_else(|| self.across.ends(&across));
        let (bottom, top) = (scale.bottom, scale.top);
        let upward = Broken {
            whole: (bottom..top).into(),
            labelled: (bottom..scale.unbroken).into(),
        };
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut canvas = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(36)
            .x_label_area_size(28)
            .y_label_area_size(74)
            .build_cartesian_2d(left..right, upward)
            .map_err(|error| error.to_string())?;
        for shade in &self.shades {
            let corners = [(shade.from.max(left), bottom), (shade.to.min(right), top)];
            let fill = shade.color().mix(0.22).filled();
            put(&mut canvas, [Rectangle::new(corners, fill)])?;
        }
        canvas
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.25))
            .axis_style(GREY.mix(0.6))
            .x_labels(self.across.label_count((left, right)))
            .y_labels(self.up.label_count((bottom, scale.unbroken)))
            .x_label_formatter(&|place| self.across.label(*place))
            .y_label_formatter(&|place| scale.label(*place))
            .label_style(("sans-serif", LABEL_SIZE).into_font().color(&GREY))
            .draw()
            .map_err(|error| error.to_string())?;
        if let Some((at, _)) = &self.mark {
            let ends = vec![(*at, bottom), (*at, top)];
            put(&mut canvas, LineSeries::new(ends, GREY.stroke_width(2)))?;
        }
        if let Some(limit) = scale.far_limit {
            put_break(&mut canvas, &scale, limit, (left, right))?;
        }
        for (line, color) in styled {
            let style = ShapeStyle::from(color).stroke_width(2);
            for run in self.runs(line, &scale) {
                match (line.kind, run.as_slice()) {
                    // A point alone would have no line.
                    (_, [point]) => put(&mut canvas, [Circle::new(*point, 2, color.filled())]),
                    (Kind::Measured, _) => put(&mut canvas, LineSeries::new(run, style)),
                    _ => put(&mut canvas, DashedLineSeries::new(run, 6, 4, style)),
                }?;
            }
        }
        area.present().map_err(|error| error.to_string())
    }

    fn scale(&self) -> Scale {
        let values = |is_limit: bool| {
            let lines = self.lines.iter();
            let lines = lines.filter(move |it| (it.kind == Kind::Limit) == is_limit);
            lines.flat_map(|line| line.points.iter().filter_map(|(_, y)| *y))
        };
        let limit = values(true).reduce(f64::max);
        Scale::of(self.up, &values(false).collect::<Vec<_>>(), limit)
    }

    /// A line's places, cut where values are missing.
    fn runs(&self, line: &Line, scale: &Scale) -> Vec<Run> {
        let mut runs = vec![Vec::new()];
        for (x, y) in thinned(&line.points) {
            match (y, runs.last_mut()) {
                (Some(y), Some(run)) => run.push((self.across.place(x), scale.place(line.kind, y))),
                _ => runs.push(Vec::new()),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }
}

/// What is drawn on.
type Canvas<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Broken>>;

fn put<'b, E, R, S>(canvas: &mut Canvas<'_, 'b>, series: S) -> Result<(), String>
where
    S: IntoIterator<Item = R>,
    for<'e> &'e E: PointCollection<'e, (f64, f64)>,
    E: Drawable<SVGBackend<'b>>,
    R: std::borrow::Borrow<E>,
{
    let drawn = canvas.draw_series(series);
    drawn.map(drop).map_err(|error| error.to_string())
}

/// Cuts the axis, and puts the number of a limit on its line above the break.
fn put_break(
    canvas: &mut Canvas<'_, '_>,
    scale: &Scale,
    limit: f64,
    (left, right): (f64, f64),
) -> Result<(), String> {
    let label = ("sans-serif", LABEL_SIZE).into_font().color(&GREY);
    let text = format!(" {}", scale.label(limit / scale.divisor));
    let place = (left, scale.unbroken * (FAR_PLACE + 0.07));
    put(canvas, [Text::new(text, place, label)])?;
    let cut = [1.02, 1.06].map(|part| {
        let inward = left + (right - left) * 0.03;
        let ends = [(left, part), (inward, part + 0.02)];
        let ends = ends.map(|(x, part)| (x, scale.unbroken * part));
        PathElement::new(ends.to_vec(), GREY.stroke_width(2))
    });
    put(canvas, cut)
}

/// At most [`MOST_POINTS`], each the highest of its neighbours: peaks are what people look for.
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let size = points.len().div_ceil(MOST_POINTS).max(1);
    let highest = |chunk: &[(f64, Option<f64>)]| {
        let most = chunk.iter().filter_map(|(_, y)| *y).reduce(f64::max);
        (chunk[0].0, most)
    };
    points.chunks(size).map(highest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(up: AxisUnit, points: &[(f64, Option<f64>)]) -> Drawing {
        let line = |kind| Line {
            name: format!("{kind:?}"),
            kind,
            points: points.to_vec(),
        };
        let lines = vec![line(Kind::Measured), line(Kind::Planned), line(Kind::Limit)];
        let chart = Chart {
            title: "title".to_owned(),
            across: AxisUnit::Seconds,
            up,
            ends: None,
            lines,
            shades: Vec::new(),
            mark: None,
        };
        chart.draw()
    }

    #[test]
    fn gaps_stay_gaps_and_lone_points_are_seen() {
        let some = |x: u32| (f64::from(x), Some(f64::from(x)));
        let drawing = chart(AxisUnit::Count, &[some(0), some(1), (2.0, None), some(3)]);
        assert_eq!(drawing.svg.matches("<circle").count(), 3);
        assert!(drawing.svg.contains("<polyline") && drawing.svg.ends_with("</svg>\n"));
        assert_eq!(drawing.legend.len(), 3);
        let styles = drawing.legend.iter().map(|entry| entry.style);
        assert_eq!(styles.collect::<Vec<_>>(), ["line", "dashed", "dashed"]);
    }

    #[test]
    fn nothing_to_draw_is_an_empty_chart() {
        for up in [
            AxisUnit::Count,
            AxisUnit::Latency,
            AxisUnit::Percent,
            AxisUnit::Bytes,
        ] {
            assert!(chart(up, &[]).svg.contains("</svg>"));
            assert!(
                chart(up, &[(0.0, Some(0.0)), (1.0, Some(0.0))])
                    .svg
                    .contains("</svg>")
            );
        }
    }

    #[test]
    fn powers_have_labels_of_their_own() {
        let drawing = chart(
            AxisUnit::Latency,
            &[(0.0, Some(12.0)), (9.0, Some(4_000.0))],
        );
        for label in ["10 ms", "100 ms", "1 s", "10 s"] {
            assert!(
                drawing.svg.contains(&format!("{label}\n")),
                "{label}: {}",
                drawing.svg
            );
        }
        assert_eq!(
            [0.0, 1.0, 2.0, 3.0, 4.0].map(|place| AxisUnit::Percentile.label(place)),
            ["0%", "90%", "99%", "99.9%", "99.99%"]
        );
        assert!((AxisUnit::Percentile.place(99.9) - 3.0).abs() < 1e-6);
    }

    /// A quota that is far over everything else leaves the rest its room, and tells its own number.
    #[test]
    fn a_far_limit_is_above_a_break_of_the_axis() {
        let scale = Scale::of(AxisUnit::Count, &[1_900.0, 2_000.0], Some(87_784.0));
        assert!((scale.place(Kind::Measured, 2_000.0) / scale.top) > 0.7);
        let limit = scale.place(Kind::Limit, 87_784.0);
        assert!(scale.unbroken < limit && limit < scale.top);
        assert_eq!(scale.label(87_784.0), "87,784");
        let near = Scale::of(AxisUnit::Count, &[1_900.0], Some(3_000.0));
        assert!(near.far_limit.is_none() && near.top >= 3_000.0);
        let bytes = Scale::of(AxisUnit::Bytes, &[22.0 * 1_048_576.0], None);
        assert_eq!(bytes.label(20.0), "20 MiB");
        assert!((bytes.place(Kind::Measured, 22.0 * 1_048_576.0) - 22.0).abs() < 1e-9);
    }

    #[test]
    fn silent_seconds_are_shaded_and_named() {
        let shade = |from, is_death| Shade {
            from,
            to: from + 2.0,
            is_death,
        };
        let chart = Chart {
            title: "title".to_owned(),
            across: AxisUnit::Seconds,
            up: AxisUnit::Count,
            ends: Some((0.0, 9.0)),
            lines: Vec::new(),
            shades: vec![shade(2.5, false), shade(6.5, true)],
            mark: Some((4.0, "the knee".to_owned())),
        };
        let drawing = chart.draw();
        assert_eq!(drawing.svg.matches("<rect").count(), 2);
        let named = drawing
            .legend
            .iter()
            .map(|entry| (entry.name.as_str(), entry.style));
        assert_eq!(
            named.collect::<Vec<_>>(),
            [
                ("nothing acknowledged", "area"),
                ("nothing acknowledged, to the end", "area"),
                ("the knee", "line"),
            ]
        );
    }

    #[test]
    fn a_day_of_seconds_is_thinned_and_keeps_its_peak() {
        let mut points: Vec<_> = (0..86_400).map(|x| (f64::from(x), Some(1.0))).collect();
        points[12_345].1 = Some(77.0);
        let thinned = thinned(&points);
        assert!(thinned.len() <= MOST_POINTS);
        assert!(thinned.iter().any(|(_, y)| *y == Some(77.0)));
    }
}
