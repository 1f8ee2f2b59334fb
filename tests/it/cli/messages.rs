//! What the program says before it has reached a server: variables, logs, and the last line.

use std::process::Output;

use anyhow::{Context as _, Result};
use serde_json::Value;

use testkit::program::program;

const NOBODY: &str = "source.url = \"mysql://hydrant@127.0.0.1:1\"\nsource.tls = \"encrypt\"\n\
                      table = [{ name = \"shop.Sales\" }]\nsink.type = \"stdout\"\n";

/// Runs `hydrant cdc` with this configuration, these variables and these arguments.
fn cdc(config: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("hydrant.toml");
    std::fs::write(&path, config)?;
    let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
    command.arg("cdc").arg("--config").arg(path).args(arguments);
    let variables = variables.iter().copied();
    Ok(command
        .envs(variables)
        .current_dir(folder.path())
        .output()?)
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_variable_that_means_nothing_is_refused() -> Result<()> {
    for (name, said) in [
        ("HYDRANT_SINK_STREM", "did you mean HYDRANT_SINK__STREAM?"),
        ("HYDRANT_TABLE", "unset it"),
        ("HYDRANT_SOURCE__URI", "did you mean HYDRANT_SOURCE__URL?"),
    ] {
        let output = cdc(NOBODY, &[(name, "hunter2")], &[])?;
        let log = log(&output);
        assert_eq!(output.status.code(), Some(78), "{log}");
        assert!(log.contains(name) && log.contains(said), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
    // A key's variable, and one that the configuration names.
    let config = format!("{NOBODY}source.password = \"env:HYDRANT_PW\"");
    let variables = [("HYDRANT_PW", "x"), ("HYDRANT_SOURCE__SERVER_ID", "7")];
    assert_eq!(cdc(&config, &variables, &[])?.status.code(), Some(69));
    Ok(())
}

#[test]
fn a_password_that_looks_like_a_reference_is_told() -> Result<()> {
    for (password, said) in [
        (
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hunter2",
            "Secrets Manager",
        ),
        ("ENV:HUNTER2", "env:NAME"),
        ("${HUNTER2}", "a variable of a shell"),
    ] {
        let config = format!("{NOBODY}source.password = \"{password}\"");
        let output = cdc(&config, &[], &[])?;
        let log = log(&output);
        assert_eq!(output.status.code(), Some(69), "{log}");
        assert!(
            log.contains("WARN source.password looks like") && log.contains(said),
            "{log}"
        );
        assert!(!log.to_lowercase().contains("hunter2"), "{log}");
    }
    Ok(())
}

#[test]
fn a_filter_of_logs_never_hides_all_of_them_by_mistake() -> Result<()> {
    const WARNING: &str = "the server's certificate is not verified";
    for (filter, is_there) in [
        ("", true),
        ("warn", true),
        ("hydarnt=debug", true),
        ("error", false),
    ] {
        let output = cdc(NOBODY, &[("HYDRANT_LOG", filter)], &[])?;
        assert_eq!(output.status.code(), Some(69));
        assert_eq!(log(&output).contains(WARNING), is_there, "{filter:?}");
    }
    for filter in ["warning", "hydrant", "hydrant=loud"] {
        let output = cdc(NOBODY, &[("HYDRANT_LOG", filter)], &[])?;
        let log = log(&output);
        assert_eq!(output.status.code(), Some(78), "{log}");
        for said in [
            "HYDRANT_LOG",
            "remedy: ",
            "off, error, warn, info, debug, trace",
        ] {
            assert!(log.contains(said), "{said:?} is not in: {log}");
        }
    }
    Ok(())
}

#[test]
fn the_last_line_is_json_like_all_before_it() -> Result<()> {
    let misnamed = NOBODY.replace("source.tls", "source.tsl");
    for (config, variables, arguments, exit) in [
        (NOBODY, &[][..], &[][..], 69),
        (&misnamed, &[], &[], 78),
        (NOBODY, &[("HYDRANT_LOG", "warning")], &[], 78),
        (NOBODY, &[], &["--untill", "now"], 64),
    ] {
        for format in [&["--log-format", "json"][..], &["--log-format=json"]] {
            let arguments = [arguments, format].concat();
            let output = cdc(config, variables, &arguments)?;
            let log = log(&output);
            assert_eq!(output.status.code(), Some(exit), "{log}");
            let lines: Result<Vec<Value>, _> = log.lines().map(serde_json::from_str).collect();
            let lines = lines.with_context(|| log.clone())?;
            let last = lines.last().context("nothing was said")?;
            assert_eq!(last["level"], "ERROR", "{log}");
            assert_eq!(last["exit_code"], exit, "{log}");
            for key in ["message", "remedy", "timestamp"] {
                assert!(
                    last[key].as_str().is_some_and(|text| !text.is_empty()),
                    "{key}: {log}"
                );
            }
        }
    }
    Ok(())
}
