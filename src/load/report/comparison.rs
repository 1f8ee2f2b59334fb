//! `hydrant load compare`: two results, a table, and a page.

use std::fs;
use std::path::Path;

use crate::printing::print;
use crate::{Exit, Failure};

use super::compare::{changed_settings, median_seconds, table};
use super::{FORMAT, Report};
use super::{page, whole_run};
use crate::load::options::CompareOptions;

/// Runs `hydrant load compare`.
///
/// # Errors
/// If a file cannot be read, is no result, or the two are of different kinds of runs.
pub(crate) fn run(options: &CompareOptions) -> Result<(), Failure> {
    let (a, b) = (read(&options.a)?, read(&options.b)?);
    if a.kind != b.kind {
        return Err(Failure::definite(
            Exit::Usage,
            format!("A is a run of load {}, B one of load {}", a.kind, b.kind),
            "compare runs of the same kind",
        ));
    }
    if let Some(path) = options
        .out
        .as_deref()
        .filter(|path| path.exists() && !options.force)
    {
        return Err(Failure::definite(
            Exit::Usage,
            format!("{} exists already", path.display()),
            "name another file with --out, or add --force to overwrite it",
        ));
    }
    let mut sections = whole_run::sections(&a, &b);
    sections.push(median_seconds(&a, &b));
    let settings = changed_settings(&a, &b);
    let head =
        |name: &str, report: &Report| format!("{name}: {}, {}\n", report.target, report.started_at);
    let (head_a, head_b) = (head("A", &a), head("B", &b));
    let told = format!("{head_a}{head_b}{}", table(&sections, &settings));
    print(told)?;
    let Some(path) = &options.out else {
        return Ok(());
    };
    let written = page::comparison((&a, &b), &sections, &settings)
        .map_err(std::io::Error::other)
        .and_then(|html| fs::write(path, html));
    written.map_err(|error| {
        Failure::definite(
            Exit::Unavailable,
            format!("cannot write {}: {error}", path.display()),
            "name another file with --out",
        )
    })
}

fn read(path: &Path) -> Result<Report, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::definite(
            Exit::Usage,
            format!("cannot read {}: {error}", path.display()),
            "give the result.json of two runs that had --out",
        )
    })?;
    let report: Result<Report, _> = serde_json::from_str(&text);
    report
        .ok()
        .filter(|report| report.format == FORMAT)
        .ok_or_else(|| {
            Failure::definite(
                Exit::Data,
                format!(
                    "{} is no result of this version's load tests",
                    path.display()
                ),
                "make both runs with the same version",
            )
        })
}
