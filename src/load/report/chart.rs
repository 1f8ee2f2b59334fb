//! PURE. Line charts as SVG texts that can stand in a page.
//!
//! What lives here: axes, lines and their colours, which read on light and on dark ground. What
//! does not: what is drawn ([`super::plots`]).

use bytesize::ByteSize;
use plotters::prelude::*;
use serde::Serialize;

use super::text::{count, ms};

/// Pixels; the page scales them.
const SIZE: (u32, u32) = (640, 300);
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
    /// Bytes, with decimal prefixes, because places are round in tens.
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
    /// What is drawn.
    pub lines: Vec<Line>,
}

/// An entry of a legend.
#[derive(Debug, Clone, Serialize)]
pub struct LegendEntry {
    name: String,
    color: String,
    is_dashed: bool,
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
            Self::Bytes => ByteSize(place as u64).display().si().to_string(),
            Self::Seconds => format!("{place:.0} s"),
            Self::Count => count(place),
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
        let legend = styled
            .iter()
            .map(|(line, RGBColor(red, green, blue))| LegendEntry {
                name: line.name.clone(),
                color: format!("#{red:02x}{green:02x}{blue:02x}"),
                is_dashed: line.kind != Kind::Measured,
            });
        Drawing {
            title: self.title.clone(),
            legend: legend.collect(),
            svg,
        }
    }

    fn draw_lines(
        &self,
        svg: &mut String,
        styled: &[(&Line, RGBColor)],
    ) -> Result<(), Box<dyn std::error::Error + '_>> {
        let runs: Vec<(Vec<Run>, &Line, RGBColor)> = styled
            .iter()
            .map(|(line, color)| (self.runs(line), *line, *color))
            .collect();
        let points = || runs.iter().flat_map(|(runs, ..)| runs.iter().flatten());
        let across: Vec<f64> = points().map(|(x, _)| *x).collect();
        let up: Vec<f64> = points().map(|(_, y)| *y).collect();
        let (left, right) = self.across.ends(&across);
        let (bottom, top) = self.up.ends(&up);
        {
            let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
            let mut chart = ChartBuilder::on(&area)
                .margin(8)
                .margin_right(36)
                .x_label_area_size(28)
                .y_label_area_size(74)
                .build_cartesian_2d(left..right, bottom..top)
                .map_err(|error| error.to_string())?;
            let label = ("sans-serif", LABEL_SIZE).into_font().color(&GREY);
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .bold_line_style(GREY.mix(0.25))
                .axis_style(GREY.mix(0.6))
                .x_labels(self.across.label_count((left, right)))
                .y_labels(self.up.label_count((bottom, top)))
                .x_label_formatter(&|place| self.across.label(*place))
                .y_label_formatter(&|place| self.up.label(*place))
                .label_style(label)
                .draw()
                .map_err(|error| error.to_string())?;
            for (runs, line, color) in runs {
                let style = ShapeStyle::from(&color).stroke_width(2);
                for run in runs {
                    let drawn = match (line.kind, run.as_slice()) {
                        // A point alone would have no line.
                        (_, [point]) => chart
                            .draw_series([Circle::new(*point, 2, color.filled())])
                            .map(|_| ()),
                        (Kind::Measured, _) => {
                            chart.draw_series(LineSeries::new(run, style)).map(|_| ())
                        }
                        _ => chart
                            .draw_series(DashedLineSeries::new(run, 6, 4, style))
                            .map(|_| ()),
                    };
                    drawn.map_err(|error| error.to_string())?;
                }
            }
            area.present().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// A line's places, cut where values are missing.
    fn runs(&self, line: &Line) -> Vec<Run> {
        let mut runs = vec![Vec::new()];
        for (x, y) in thinned(&line.points) {
            match (y, runs.last_mut()) {
                (Some(y), Some(run)) => run.push((self.across.place(x), self.up.place(y))),
                _ => runs.push(Vec::new()),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }
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
            lines,
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
        assert!(!drawing.legend[0].is_dashed && drawing.legend[2].is_dashed);
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

    #[test]
    fn a_day_of_seconds_is_thinned_and_keeps_its_peak() {
        let mut points: Vec<_> = (0..86_400).map(|x| (f64::from(x), Some(1.0))).collect();
        points[12_345].1 = Some(77.0);
        let thinned = thinned(&points);
        assert!(thinned.len() <= MOST_POINTS);
        assert!(thinned.iter().any(|(_, y)| *y == Some(77.0)));
    }
}
