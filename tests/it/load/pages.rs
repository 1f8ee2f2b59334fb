//! Pages as a browser shows them: headless Chromium lays them out, wide and narrow, and tells what
//! can be seen.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};
use hydrant::load::report::page;
use serde::Deserialize;

use super::{load, report_of};
use testkit::cache::{fetched, project};

/// What a page tells of itself when it is laid out.
#[derive(Debug, Deserialize)]
struct Seen {
    /// Everything that was loaded beside the page.
    resources: Vec<String>,
    /// By how many pixels the page is wider than its window.
    too_wide: f64,
    /// What is not within the window, but for the texts of charts.
    outside: Vec<String>,
    /// Its visible text.
    text: String,
    /// The width and the height of each chart, and its texts that lie outside of it or are empty.
    charts: Vec<(f64, f64, u32)>,
}

/// Asks a laid-out page, and puts the answer where it is found again.
const LOOK: &str = r#"<script>addEventListener("load", () => {
  const charts = [...document.querySelectorAll("figure svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    const bad = [...svg.querySelectorAll("text")].filter((text) => {
      const its = text.getBoundingClientRect();
      return its.width < 1 || its.height < 1 || its.left < box.left - 1 || its.right > box.right + 1
        || its.top < box.top - 1 || its.bottom > box.bottom + 1;
    });
    return [box.width, box.height, bad.length];
  });
  const outside = [...document.body.querySelectorAll("*")].filter((it) => {
    const box = it.getBoundingClientRect();
    return !it.closest("svg") && box.width > 0 && (box.left < -1 || box.right > innerWidth + 1);
  });
  const seen = {
    resources: performance.getEntriesByType("resource").map((it) => it.name),
    too_wide: document.documentElement.scrollWidth - innerWidth,
    outside: outside.map((it) => it.tagName + " " + it.textContent.trim().slice(0, 40)),
    text: document.body.innerText,
    charts,
  };
  document.documentElement.innerHTML = "";
  document.documentElement.setAttribute("seen", encodeURIComponent(JSON.stringify(seen)));
})</script>"#;

/// Lays a page out in a window of this width.
fn look_at(page: &Path, width: u32) -> Result<Seen> {
    let html = std::fs::read_to_string(page)?;
    let asked = page.with_extension("asked.html");
    std::fs::write(&asked, format!("{html}{LOOK}"))?;
    let browser = fetched("chromium")?.join("bin/chromium-headless-shell");
    let mut log = String::new();
    // In a single process Chromium may crash of itself, mostly when it has answered.
    for _ in 0..3 {
        let profile = tempfile::tempdir()?;
        let output = Command::new(&browser)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={width},900"))
            .args(["--disable-gpu", "--dump-dom"])
            .arg(format!("file://{}", asked.display()))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .output()?;
        let dom = String::from_utf8(output.stdout)?;
        let answer = dom
            .split("seen=\"")
            .nth(1)
            .and_then(|it| it.split('"').next());
        if let Some(answer) = answer {
            let answer = percent_encoding::percent_decode_str(answer).decode_utf8()?;
            return Ok(serde_json::from_str(&answer)?);
        }
        log = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    bail!("no answer: {log}")
}

/// Whatever is looked at is readable on a screen and on a telephone, and has these texts.
fn is_readable(page: &Path, charts: usize, texts: &[&str]) -> Result<()> {
    for width in [1_200, 420, 390] {
        let seen = look_at(page, width)?;
        ensure!(seen.resources.is_empty(), "{:?}", seen.resources);
        ensure!(
            seen.too_wide < 1.0,
            "{} px too wide at {width}",
            seen.too_wide
        );
        ensure!(seen.outside.is_empty(), "at {width}: {:?}", seen.outside);
        ensure!(seen.charts.len() == charts, "{:?}", seen.charts);
        for (wide, high, unreadable) in &seen.charts {
            ensure!(
                *wide > 250.0 && *high > 100.0 && *unreadable == 0,
                "at {width}: {:?}",
                seen.charts
            );
        }
        for text in texts {
            ensure!(seen.text.contains(text), "no {text:?} in {}", seen.text);
        }
    }
    Ok(())
}

#[test]
fn chromium_shows_the_answers_and_the_charts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, flush) in [("a", "50ms"), ("b", "300ms")] {
        let arguments = format!("firehose --rate 500 --for 6s --flush-interval {flush}");
        report_of(&arguments, &folder.path().join(name))?;
    }
    let questions = [
        "How many rows a second does it take?",
        "What breaks first?",
        "What does it cost a month?",
    ];
    is_readable(&folder.path().join("a/report.html"), 8, &questions)?;
    let compared = folder.path().join("compare.html");
    let output = load("compare")
        .arg(folder.path().join("a/result.json"))
        .arg(folder.path().join("b/result.json"))
        .arg("--out")
        .arg(&compared)
        .output()?;
    ensure!(output.status.success());
    let texts = ["What differs", "median latency", "Settings that differ"];
    is_readable(&compared, 8, &texts)
}

/// A search, a death and a stall: their pages say so, and nothing of them is outside a telephone.
#[test]
fn chromium_shows_a_knee_a_death_and_a_stall() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let runs: [(&str, usize, &[&str]); 3] = [
        (
            "knee",
            10,
            &[
                "The knee: offered rate against achieved rate and p99",
                "Rates that were tried",
            ],
        ),
        (
            "death",
            8,
            &["nothing acknowledged, to the end", "4,113 of 20,000 rows"],
        ),
        ("stall", 8, &["nothing acknowledged", "5,000"]),
    ];
    for (name, charts, texts) in runs {
        let result = project().join(format!("tests/data/reports/{name}.json"));
        let report = serde_json::from_str(&std::fs::read_to_string(result)?)?;
        let page = folder.path().join(format!("{name}.html"));
        std::fs::write(&page, page::report(&report)?)?;
        is_readable(&page, charts, texts)?;
    }
    Ok(())
}
