//! `hydrant load` as a user runs it.

mod faults;
mod firehose;
mod metrics;
mod mysql;
mod output;
mod pages;
mod texts;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use hydrant::load::report::Report;
use testkit::program::program;

/// `hydrant load`, where no credentials are to be found.
fn load(arguments: &str) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
    command
        .arg("load")
        .args(arguments.split_whitespace())
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env_remove("AWS_REGION")
        .env_remove("AWS_PROFILE")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end, which has to be a good one, and reads its report.
fn report_of(arguments: &str, folder: &Path) -> Result<(Report, Output)> {
    let output = load(arguments).arg("--out").arg(folder).output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    Ok((read_report(folder)?, output))
}

fn read_report(folder: &Path) -> Result<Report> {
    let text = std::fs::read_to_string(folder.join("result.json"))?;
    Ok(serde_json::from_str(&text)?)
}

/// The page is well-formed, loads nothing, answers three questions, and has these charts with
/// lines on them.
fn page_is_whole(html: &str, charts: &[&str]) -> Result<()> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let page = roxmltree::Document::parse_with_options(html, options)?;
    for node in page.descendants().filter(roxmltree::Node::is_element) {
        let loads = [
            "link", "script", "img", "iframe", "object", "embed", "use", "image",
        ];
        ensure!(
            !loads.contains(&node.tag_name().name()),
            "{:?}",
            node.tag_name()
        );
        for attribute in node.attributes() {
            let loads = ["src", "href", "srcset", "data", "action", "background"];
            ensure!(!loads.contains(&attribute.name()), "{attribute:?}");
            ensure!(!attribute.value().contains("url("), "{attribute:?}");
        }
    }
    let text = |node: roxmltree::Node| -> String {
        let texts = node.descendants().filter(roxmltree::Node::is_text);
        texts.filter_map(|it| it.text()).collect()
    };
    let named = |name: &'static str| {
        page.descendants()
            .filter(move |node| node.has_tag_name(name))
    };
    for style in named("style") {
        let style = text(style);
        ensure!(
            !style.contains("url(") && !style.contains("@import"),
            "{style}"
        );
    }
    let drawn: Vec<String> = named("figure")
        .filter(|figure| {
            let lines = ["polyline", "circle", "line"];
            let has_lines = figure
                .descendants()
                .any(|it| lines.contains(&it.tag_name().name()));
            let has_texts = figure
                .descendants()
                .any(|it| it.tag_name().name() == "text");
            has_lines && has_texts
        })
        .filter_map(|figure| {
            figure
                .descendants()
                .find(|it| it.has_tag_name("figcaption"))
        })
        .map(text)
        .collect();
    assert_eq!(drawn, charts);
    Ok(())
}
