//! Firehose's client behind a company's own certificate authority.

use std::net::Ipv4Addr;
use std::process::Output;

use anyhow::{Result, ensure};
use hydrant::sim::{Options, QuotaPreset, Simulator};
use testkit::program::program;
use tokio::task::spawn_blocking;

use crate::setup::tls_front::TlsFront;

#[tokio::test(flavor = "multi_thread")]
async fn firehose_is_reached_under_the_authority_that_aws_ca_bundle_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = Options {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.path().join("objects"),
        quota: QuotaPreset::Off,
        streams: vec!["S".parse().map_err(anyhow::Error::msg)?],
        ..Options::default()
    };
    let simulator = Simulator::start(options).await?;
    let front = TlsFront::of(simulator.addr().to_string()).await?;
    for authority in [None, Some(front.authority())] {
        let is_believed = authority.is_some();
        let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
        command
            .args(["load", "firehose", "--rate", "100", "--for", "1s"])
            .args(["--stream", "S", "--region", "us-east-1", "--endpoint"])
            .arg(front.url())
            .arg("--out")
            .arg(folder.path().join(is_believed.to_string()))
            .env("HOME", folder.path())
            .env("AWS_ACCESS_KEY_ID", "any")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .env_remove("AWS_CA_BUNDLE")
            .envs(authority.map(|path| ("AWS_CA_BUNDLE", path)));
        let output: Output = spawn_blocking(move || command.output()).await??;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() == is_believed, "{told}");
        ensure!(is_believed || told.contains("UnknownIssuer"), "{told}");
    }
    ensure!(simulator.accounts().streams["S"].total.admitted_rows > 0);
    Ok(())
}
