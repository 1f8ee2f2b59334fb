//! What cannot be fetched fails the tests that need it, at once and with the reason, and nothing else.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};

use testkit::cache::project;

fn run(script: &str, arguments: &[&str], servers: &Path) -> Result<(Output, String)> {
    let output = Command::new(project().join("servers").join(script))
        .args(arguments)
        .env("HYDRANT_SERVERS_DIR", servers)
        .env("HYDRANT_DEBIAN_MIRROR", "file:/there/is/no/such/mirror")
        .env("PYTHON", "false")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8(output.stderr.clone())?;
    Ok((output, said))
}

#[test]
fn one_kind_that_cannot_be_had_leaves_the_others_alone_and_is_not_tried_by_every_test() -> Result<()>
{
    let servers = tempfile::tempdir()?;
    fs::create_dir(servers.path().join("mysql"))?;
    fs::write(servers.path().join("mysql/stamp"), "recipe 1\n9.7.123\n")?;

    // As `make test` does it: whatever is there is printed with its version.
    let (output, said) = run("fetch", &["mysql", "mariadb"], servers.path())?;
    ensure!(!output.status.success());
    ensure!(said.contains("mysql: 9.7.123"), "{said}");
    ensure!(said.contains("mariadb could not be fetched: "), "{said}");
    ensure!(
        said.contains("remedy: mend that and run servers/fetch mariadb"),
        "{said}"
    );

    // As tests do it.
    let (output, said) = run("fetch", &["--for-test", "mysql"], servers.path())?;
    ensure!(output.status.success() && said.is_empty(), "{said}");
    let (output, said) = run("fetch", &["--for-test", "mariadb"], servers.path())?;
    ensure!(!output.status.success());
    ensure!(said.contains("mariadb could not be fetched: "), "{said}");
    ensure!(
        said.contains("remedy: mend that and run servers/fetch mariadb"),
        "{said}"
    );
    ensure!(
        !said.contains("reading the package lists"),
        "tried again: {said}"
    );

    // Whoever asks for it by hand has it tried again.
    fs::write(servers.path().join(".failed-mariadb"), "an old reason\n")?;
    let (output, said) = run("fetch", &["mariadb"], servers.path())?;
    ensure!(
        !output.status.success() && !said.contains("an old reason"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_python_that_cannot_be_made_is_not_tried_by_every_test() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let requirements = folder.path().join("requirements.txt");
    fs::write(&requirements, "six==1.17.0\n")?;
    let venv = folder.path().join("venv");
    let arguments = [requirements.to_str().unwrap(), venv.to_str().unwrap()];
    let (output, said) = run("venv", &arguments, folder.path())?;
    ensure!(!output.status.success());
    ensure!(
        said.contains("remedy: mend that and run servers/venv"),
        "{said}"
    );

    let failed = folder.path().join("venv.failed");
    fs::write(&failed, "the reason of before\n")?;
    let for_test = [&["--for-test"][..], &arguments].concat();
    let (output, said) = run("venv", &for_test, folder.path())?;
    ensure!(
        !output.status.success() && said.contains("the reason of before"),
        "{said}"
    );
    let (output, said) = run("venv", &arguments, folder.path())?;
    ensure!(
        !output.status.success() && !said.contains("the reason of before"),
        "{said}"
    );
    Ok(())
}
