//! What people read of load tests that were run once: what is printed, what is on the pages, and how two are compared.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use hydrant::load::report::Report;
use hydrant::load::report::page;

use super::load;
use crate::setup::snapshot::assert_text;
use testkit::cache::project;

fn path(name: &str) -> PathBuf {
    project().join(format!("tests/data/reports/{name}.json"))
}

fn report(name: &str) -> Result<Report> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path(name))?)?)
}

/// The words of a page, a line for each piece of text, without those of its charts and styles.
fn words(html: &str) -> Result<String> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let page = roxmltree::Document::parse_with_options(html, options)?;
    let is_read = |node: &roxmltree::Node| {
        node.is_text()
            && !node
                .ancestors()
                .any(|it| ["svg", "style"].contains(&it.tag_name().name()))
    };
    let texts = page.descendants().filter(is_read);
    let texts = texts.filter_map(|node| {
        Some(
            node.text()?
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        )
    });
    Ok(texts
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join("\n"))
}

#[test]
fn reports_read_as_they_did() -> Result<()> {
    for name in ["firehose-a", "metrics", "knee", "death", "stall"] {
        let report = report(name)?;
        assert_text(&format!("load-{name}"), &report.summary());
        assert_text(
            &format!("load-{name}-page"),
            &words(&page::report(&report)?)?,
        );
    }
    Ok(())
}

#[test]
fn comparisons_read_as_they_did() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let html = folder.path().join("compared.html");
    let output = load("compare")
        .args([path("firehose-a"), path("firehose-b")])
        .arg("--out")
        .arg(&html)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    assert_text("load-compare", &String::from_utf8(output.stdout)?);
    assert_text(
        "load-compare-page",
        &words(&std::fs::read_to_string(html)?)?,
    );
    Ok(())
}
