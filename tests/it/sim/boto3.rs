//! The simulator, driven by boto3: a client of AWS in another language, with other code for each protocol.
//!
//! What lives here: the simulators, and what they delivered and counted. What does not: the calls and the
//! answers that are expected, which are in `tests/python/boto3_peer.py`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use hydrant::sim::{Options, Simulator};

use super::bench::delivered;
use crate::setup;
use testkit::cache::project;
use testkit::python::python;

const WEB: &str = r#"
    [[cluster]]
    name = "Web"
    tags = { Stage = "prod" }
    steps = [{ at = 0, running = 30, pending = 2, services = 23, instances = 4, fargate = 0.5 }]
"#;

const FAULTS: &str = r#"
    [[fault]]
    call = "firehose:PutRecordBatch"
    request = 1
    refuse_records = { every = 2, error = "InternalFailure" }
    [[fault]]
    call = "firehose:PutRecordBatch"
    request = 2
    error = "ServiceUnavailableException"
    [[fault]]
    call = "firehose:PutRecordBatch"
    request = 3
    error = "ExpiredTokenException"
    [[fault]]
    call = "firehose:PutRecordBatch"
    request = 4
    wrong_length = "short"
    [[fault]]
    call = "firehose:PutRecordBatch"
    request = 5
    reset = "after"
    [[fault]]
    call = "ecs:DescribeClusters"
    request = 1
    error = "ThrottlingException"
    [[fault]]
    call = "ecs:DescribeClusters"
    request = 2
    reset = "before"
    # Twice, for two protocols.
    [[fault]]
    call = "cloudwatch:*"
    request = [1, 4]
    error = "InternalFailure"
    [[fault]]
    call = "cloudwatch:*"
    request = [2, 5]
    error = "ExpiredTokenException"
    [[fault]]
    call = "cloudwatch:*"
    request = [3, 6]
    reset = "after"
"#;

/// A simulator without streams and quotas, unless `adjust` says otherwise; it keeps to `folder`.
async fn simulator(folder: &Path, adjust: impl FnOnce(&mut Options)) -> Result<Simulator> {
    let mut options = setup::simulator::options(&folder.join("objects"), &[])?;
    adjust(&mut options);
    Ok(Simulator::start(options).await?)
}

/// Runs a function of the script against the simulator, to its end.
async fn run(simulator: &Simulator, service: &str, file: &Path) -> Result<()> {
    let arguments = [service, &simulator.endpoint_url()].map(str::to_owned);
    let (service, file) = (service.to_owned(), file.to_owned());
    let output = tokio::task::spawn_blocking(move || -> Result<_> {
        let script = project().join("tests/python/boto3_peer.py");
        // -I and the rest: nothing of this machine's Python files or AWS settings.
        let mut command = Command::new(python()?);
        command.args(["-I", "-B"]).arg(script).args(arguments);
        if service == "firehose" {
            command.arg(file);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .stdin(Stdio::null());
        Ok(command.output()?)
    })
    .await??;
    ensure!(
        output.status.success(),
        "boto3 expected something else:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[tokio::test]
async fn boto3_delivers_through_a_small_quota_what_it_sent_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sent = folder.path().join("sent");
    // Less than a batch, so that the first one is over it however slow the machine.
    let simulator = simulator(folder.path(), |options| options.quota_records = Some(450)).await?;
    run(&simulator, "firehose", &sent).await?;
    let accounts = simulator.shutdown().await?;
    let account = &accounts.streams["boto3"];
    assert_eq!(account.total.admitted_records, 801);
    assert_eq!(account.delivered.records, 801);
    assert!(account.total.refused_records > 0);
    assert_eq!(accounts.errors["ValidationException"], 4);

    let objects = delivered(&folder.path().join("objects"))?;
    assert!(objects.iter().all(|(key, _)| key.starts_with("CDC/")));
    let content: Vec<u8> = objects
        .into_iter()
        .flat_map(|(_, content)| content)
        .collect();
    let sent = std::fs::read(sent)?;
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<_> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        lines.sort_unstable();
        lines.concat()
    };
    assert_eq!(sorted(&content), sorted(&sent));
    Ok(())
}

#[tokio::test]
async fn boto3_reads_clusters_and_services() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("clusters.toml");
    std::fs::write(&script, WEB)?;
    let simulator = simulator(folder.path(), |options| options.ecs_script = Some(script)).await?;
    run(&simulator, "ecs", folder.path()).await?;
    let accounts = simulator.shutdown().await?;
    assert_eq!(accounts.calls_of("ecs:DescribeClusters").refused, 1);
    assert_eq!(accounts.calls_of("ecs:ListServices").answered, 3);
    Ok(())
}

#[tokio::test]
async fn boto3_puts_metrics_and_gets_them_in_json_and_in_cbor() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let simulator = simulator(folder.path(), |_| {}).await?;
    run(&simulator, "cloudwatch", folder.path()).await?;
    let accounts = simulator.shutdown().await?;
    let namespaces: Vec<_> = accounts.metrics.iter().map(|it| &*it.namespace).collect();
    assert_eq!(namespaces, ["boto3/json", "boto3/smithy-rpc-v2-cbor"]);
    for metric in &accounts.metrics {
        assert_eq!((metric.seconds(), metric.data), (1_000, 1_000));
        assert_eq!(metric.repeated_seconds(), 0);
    }
    let counts = accounts.calls_of("cloudwatch:PutMetricData");
    assert_eq!((counts.answered, counts.refused), (2, 20));
    Ok(())
}

#[tokio::test]
async fn boto3_sees_faults_as_it_sees_awss() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = ["clusters.toml", "faults.toml"].map(|name| folder.path().join(name));
    std::fs::write(&files[0], WEB)?;
    std::fs::write(&files[1], FAULTS)?;
    let [script, faults] = files;
    let stream = "boto3".parse().map_err(anyhow::Error::msg)?;
    let simulator = simulator(folder.path(), |options| {
        options.ecs_script = Some(script);
        options.faults = Some(faults);
        options.streams = vec![stream];
    })
    .await?;
    run(&simulator, "faults", folder.path()).await?;
    let accounts = simulator.shutdown().await?;
    let hits: Vec<u64> = accounts.faults.iter().map(|fault| fault.hits).collect();
    assert_eq!(hits, [1, 1, 1, 1, 1, 1, 1, 2, 2, 2]);
    let account = &accounts.streams["boto3"];
    // One of the first batch and two of each that was not confirmed and of the last.
    assert_eq!(
        (account.total.admitted_rows, account.unconfirmed.rows),
        (7, 4)
    );
    assert_eq!(account.delivered.rows, 7);
    assert_eq!(accounts.unconfirmed_data, 2);
    Ok(())
}
