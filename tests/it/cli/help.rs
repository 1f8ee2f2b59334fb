//! What `--help` says.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use clap::CommandFactory as _;
use hydrant::cli::Cli;

use crate::setup::snapshot::assert_text;
use testkit::cache::project;
use testkit::program::program;

/// The words of a command and of all below it.
fn commands(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
    found.push(words.to_vec());
    for below in command.get_subcommands() {
        commands(
            below,
            &[words, &[below.get_name().to_owned()]].concat(),
            found,
        );
    }
}

#[test]
fn help_of_each_command_is_as_it_was() -> Result<()> {
    let mut found = Vec::new();
    commands(&Cli::command(), &[], &mut found);
    ensure!(found.len() > 8, "{found:?}");
    let mut names = BTreeSet::new();
    for words in found {
        let output = program(env!("CARGO_BIN_EXE_hydrant"))
            .args(&words)
            .arg("--help")
            .env("COLUMNS", "100")
            .output()?;
        ensure!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        let name = [&["help".to_owned()], &words[..]].concat().join("-");
        assert_text(&name, &String::from_utf8(output.stdout)?);
        names.insert(name);
    }
    // None is left of a command that is gone.
    for entry in std::fs::read_dir(project().join("tests/it/snapshots"))? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let name = file
            .strip_suffix(".snap")
            .filter(|name| name.starts_with("help"));
        ensure!(
            name.is_none_or(|name| names.contains(name)),
            "{file} is of no command"
        );
    }
    Ok(())
}
