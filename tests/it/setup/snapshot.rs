//! Texts that people read, compared with those in `tests/it/snapshots`. `make snapshots` writes them anew, and nothing
//! else does.

use std::fmt::Write as _;
use std::process::Output;

use regex::Regex;

/// What is another text in each run, and what is shown in its place.
const CHANGING: &[(&str, &str)] = &[
    (r"127\.0\.0\.1:[1-9]\d+", "127.0.0.1:PORT"),
    (r#"[^\s"'`(:]*/(\.tmp|hydrant-\w+-)\w{6}"#, "TEMP"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"(binlog\.\d{6}):\d{2,}", "$1:OFFSET"),
    (
        r"(past the end of the file, (?:which is at )?)\d+",
        "${1}OFFSET",
    ),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r"(shop\.\w+)=[0-9a-z]{4,}", "$1=CODE"),
];

fn without_what_changes(text: &str) -> String {
    let mut text = text.to_owned();
    for (changing, shown) in CHANGING {
        let changing = Regex::new(changing).expect("a regular expression");
        text = changing.replace_all(&text, *shown).into_owned();
    }
    text
}

/// Holds a text to the snapshot of this name.
pub(crate) fn assert_text(name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, without_what_changes(text)));
}

/// What programs said when they ended, each text once.
#[derive(Default)]
pub(crate) struct Reports(Vec<(String, String)>);

impl Reports {
    /// Adds what a program that has ended said last, under a heading.
    pub(crate) fn add(&mut self, of: &str, output: &Output) {
        let code = output.status.code();
        let code = code.map_or_else(|| output.status.to_string(), |code| code.to_string());
        self.add_log(of, &code, &String::from_utf8_lossy(&output.stderr));
    }

    /// Adds the report at the end of a log.
    pub(crate) fn add_log(&mut self, of: &str, exit_code: &str, log: &str) {
        let report = log.find("hydrant: ").or_else(|| log.find("error: "));
        let report = report.map_or(log, |start| &log[start..]).trim_end();
        let report = without_what_changes(&format!("exit code {exit_code}\n{report}\n"));
        if self.0.iter().all(|(_, known)| *known != report) {
            self.0.push((of.to_owned(), report));
        }
    }

    /// Holds all of them to the snapshot of this name.
    pub(crate) fn assert(&self, name: &str) {
        let mut text = String::new();
        for (of, report) in &self.0 {
            let _ = writeln!(text, "# {of}\n{report}");
        }
        assert_text(name, &text);
    }
}
