//! `hydrant metrics` when AWS, or something in its place, says no: what goes on, what ends, with which code and remedy.

use std::fs;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use tokio::task::spawn_blocking;

use super::{Scene, any_port, books, number_before};
use crate::setup::agent::eventually;
use crate::setup::canned::Canned;
use crate::setup::tls_front::TlsFront;

const WEB: &str = "metrics.clusters = [\"Web\"]";

/// CloudWatch's answer to datums that it does not take: CBOR of a map with `__type`.
fn rejection() -> Vec<u8> {
    let code = "com.amazonaws.cloudwatch#InvalidParameterValueException";
    let mut body = vec![0xa1, 0x66];
    body.extend_from_slice(b"__type");
    body.extend_from_slice(&[0x78, u8::try_from(code.len()).unwrap_or_default()]);
    body.extend_from_slice(code.as_bytes());
    body
}

/// Runs the poller for some seconds with these variables.
async fn run(
    scene: &Scene,
    endpoint_url: &str,
    variables: &[(&str, &str)],
) -> Result<(i32, String)> {
    let mut command = scene.command(endpoint_url, &["--for", "3s"]);
    command.envs(variables.iter().copied());
    let output: Output = spawn_blocking(move || command.output()).await??;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code().unwrap_or(-1), log))
}

#[tokio::test(flavor = "multi_thread")]
async fn when_cloudwatch_rejects_everything_the_rest_is_held_at_the_planned_cost() -> Result<()> {
    let cloudwatch = Canned::start("400 Bad Request", "application/cbor", &rejection())?;
    let scene = Scene::new(&format!(
        "shutdown_grace = \"1s\"\n[metrics]\nclusters = [\"Web\", \"Still\"]\npublish_every = \"2s\"\n\
         cloudwatch_endpoint = \"{}\"",
        cloudwatch.url()
    ))?;
    let ecs = scene.simulator(any_port()).await?;
    let output = scene.run(&ecs, &["--for", "12s"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{log}");
    // Three halvings to a datum alone and a few datums, and then one request in two seconds.
    let requests = cloudwatch.requests();
    assert!((8..30).contains(&requests), "{requests}: {log}");
    assert_eq!(log.matches("which is dropped").count(), 3, "{log}");
    assert_eq!(
        log.matches("rejects all that it is sent").count(),
        1,
        "{log}"
    );
    let books = books(&log)?;
    let dropped = number_before(&books, " dropped")?;
    let pending = number_before(&books, " pending")?;
    assert!(dropped <= 5, "{books}");
    assert_eq!(
        dropped + pending,
        8 * (number_before(&books, " sampled,")? / 2),
        "{books}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_refused_blinds_only_its_own_group() -> Result<()> {
    const DENIED: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
        <Code>AccessDenied</Code><Message>User: x is not authorized to perform: sts:AssumeRole</Message></Error>\
        <RequestId>1</RequestId></ErrorResponse>";
    let sts = Canned::start("403 Forbidden", "text/xml", DENIED.as_bytes())?;
    let group = "[[metrics.group]]\nclusters = [\"Other\"]\nrole_arn = \"arn:aws:iam::210987654321:role/hydrant\"";
    let scene = Scene::new(&format!(
        "[metrics]\nclusters = [\"Web\"]\nservices = true\n{group}"
    ))?;
    let simulator = scene.simulator(any_port()).await?;
    let variables = [("AWS_ENDPOINT_URL_STS", sts.url())];
    let (code, log) = run(&scene, &simulator.endpoint_url(), &variables).await?;
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("no credentials: AccessDenied: User: x is not authorized"),
        "{log}"
    );
    assert!(
        log.contains("remedy: allow sts:AssumeRole on the role"),
        "{log}"
    );
    assert!(
        !log.contains("ErrorMetadata") && !log.contains("Error {"),
        "{log}"
    );
    let books = books(&log)?;
    let denied = number_before(&books, " denied")?;
    assert!(denied >= 2, "{books}");
    assert!(number_before(&books, " sampled,")? >= denied, "{books}");
    let accounts = simulator.shutdown().await?;
    ensure!(
        accounts
            .metrics
            .iter()
            .all(|it| it.dimensions["ClusterName"] == "Web")
    );
    // If there is no other group, it is an error.
    let scene = Scene::new(group)?;
    let (code, log) = run(&scene, "http://127.0.0.1:9", &variables).await?;
    assert_eq!(code, 77, "{log}");
    assert!(
        log.contains("remedy: allow sts:AssumeRole on the role"),
        "{log}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_exit_code_and_a_remedy_of_its_own() -> Result<()> {
    const JSON: &str = "application/x-amz-json-1.1";
    let error = |code: &str| format!("{{\"__type\":\"{code}\",\"message\":\"no\"}}");
    for (status, kind, body, code, says) in [
        (
            "400 x",
            JSON,
            error("ExpiredTokenException"),
            77,
            "renew the AWS credentials",
        ),
        (
            "400 x",
            JSON,
            error("UnrecognizedClientException"),
            77,
            "check AWS_ACCESS_KEY_ID",
        ),
        (
            "403 x",
            JSON,
            error("SignatureDoesNotMatch"),
            77,
            "this machine's clock",
        ),
        (
            "400 x",
            JSON,
            error("InvalidSignatureException"),
            77,
            "this machine's clock",
        ),
        (
            "400 x",
            JSON,
            error("AccessDeniedException"),
            77,
            "allow ecs:DescribeClusters",
        ),
        (
            "404 x",
            "text/html",
            "<h1>no</h1>".to_owned(),
            78,
            "without a path",
        ),
        (
            "200 x",
            "text/xml",
            "<a/>".to_owned(),
            78,
            "a proxy or another service has answered",
        ),
        // It may pass, so the poller goes on.
        (
            "503 x",
            "text/html",
            "<h1>no</h1>".to_owned(),
            69,
            "HTTP 503 without an error code of AWS",
        ),
    ] {
        let ecs = Canned::start(status, kind, body.as_bytes())?;
        let (exit, log) = run(&Scene::new(WEB)?, ecs.url(), &[]).await?;
        assert_eq!(exit, code, "{status} {body}: {log}");
        assert!(log.contains(says), "{status} {body}: {log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloudwatch_without_cbor_is_told_at_the_first_request() -> Result<()> {
    let cloudwatch = Canned::start("200 OK", "text/xml", b"<PutMetricDataResponse/>")?;
    let config = format!(
        "{WEB}\nmetrics.cloudwatch_endpoint = \"{}\"",
        cloudwatch.url()
    );
    let scene = Scene::new(&config)?;
    let ecs = scene.simulator(any_port()).await?;
    let (code, log) = run(&scene, &ecs.endpoint_url(), &[]).await?;
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("CBOR for CloudWatch"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_before_anything_is_asked() -> Result<()> {
    let silent = Canned::start("500 x", "text/plain", b"")?;
    for (config, endpoint_url, variables, says) in [
        (
            WEB,
            "localhost:1",
            &[][..],
            "AWS_ENDPOINT_URL is \"localhost:1\"",
        ),
        (
            WEB,
            silent.url(),
            &[("AWS_USE_FIPS_ENDPOINT", "true")],
            "FIPS endpoints are asked for",
        ),
        (
            WEB,
            silent.url(),
            &[("AWS_CA_BUNDLE", "/nowhere/ca.pem")],
            "AWS_CA_BUNDLE: /nowhere/ca.pem",
        ),
        (
            "metrics.clusters = [\"arn:aws:ecs::123456789012:cluster/Web\"]",
            silent.url(),
            &[],
            "names no region",
        ),
        (
            "metrics.clusters = [\"Web\", \"arn:aws:ecs:us-east-1:123456789012:cluster/Web\"]",
            silent.url(),
            &[],
            "are the same cluster in us-east-1",
        ),
    ] {
        let (code, log) = run(&Scene::new(config)?, endpoint_url, variables).await?;
        assert_eq!(code, 78, "{log}");
        assert!(log.contains(says), "{log}");
    }
    assert_eq!(silent.requests(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_that_aws_ca_bundle_names_is_believed_and_no_other() -> Result<()> {
    let scene = Scene::new(WEB)?;
    let simulator = scene.simulator(any_port()).await?;
    let front = TlsFront::of(simulator.addr().to_string()).await?;
    let authority = front.authority().display().to_string();
    let (code, log) = run(&scene, &front.url(), &[]).await?;
    assert_eq!(code, 69, "{log}");
    assert!(simulator.accounts().calls.is_empty());
    let (code, log) = run(&scene, &front.url(), &[("AWS_CA_BUNDLE", &authority)]).await?;
    assert_eq!(code, 0, "{log}");
    // The profile's own, which the variable overrides.
    let aws = scene.folder.path().join(".aws");
    fs::create_dir(&aws)?;
    fs::write(
        aws.join("config"),
        format!("[default]\nca_bundle = {authority}\n"),
    )?;
    let (code, log) = run(&scene, &front.url(), &[]).await?;
    assert_eq!(code, 0, "{log}");
    fs::write(aws.join("config"), "[default]\nca_bundle = /nowhere\n")?;
    let (code, log) = run(&scene, &front.url(), &[]).await?;
    assert_eq!(code, 78, "{log}");
    let (code, log) = run(&scene, &front.url(), &[("AWS_CA_BUNDLE", &authority)]).await?;
    assert_eq!(code, 0, "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_publishes_what_waits_and_a_second_signal_ends_that() -> Result<()> {
    let scene = Scene::new(
        "[metrics]\nclusters = [\"Web\"]\npublish_every = \"1h\"\nflush_changes = false",
    )?;
    let simulator = scene.simulator(any_port()).await?;
    let polls = || {
        simulator
            .accounts()
            .calls_of("ecs:DescribeClusters")
            .answered
    };
    let mut poller = scene.start(&simulator)?;
    eventually("polls go on", || Ok((polls() >= 4).then_some(())))?;
    poller.signal("HUP")?;
    let status = eventually("the poller ends", || Ok(poller.0.try_wait()?))?;
    ensure!(status.success(), "{}", scene.log()?);
    let books = books(&scene.log()?)?;
    let sampled = number_before(&books, " sampled,")?;
    assert!(sampled >= 3, "{books}");
    assert_eq!(number_before(&books, " published")?, 4 * sampled, "{books}");

    // Nobody is there to publish to, and the grace is longer than the test.
    let away = Canned::start("503 x", "text/plain", b"")?;
    let scene = Scene::new(&format!(
        "shutdown_grace = \"1h\"\n[metrics]\nclusters = [\"Web\"]\ncloudwatch_endpoint = \"{}\"",
        away.url()
    ))?;
    let before = polls();
    let mut poller = scene.start(&simulator)?;
    eventually("polls go on", || Ok((polls() >= before + 4).then_some(())))?;
    poller.signal("TERM")?;
    eventually("the poller stops", || {
        Ok(scene.log()?.contains("SIGTERM: stopping").then_some(()))
    })?;
    ensure!(poller.0.try_wait()?.is_none(), "{}", scene.log()?);
    poller.signal("INT")?;
    let status = eventually("the poller ends", || Ok(poller.0.try_wait()?))?;
    assert_eq!(status.code(), Some(75), "{}", scene.log()?);
    ensure!(scene.log()?.contains("SIGINT: the second signal"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_in_json_have_fields() -> Result<()> {
    let scene = Scene::new("metrics.clusters = [\"Web\", \"Gone\"]")?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene
        .run(&simulator, &["--for", "3s", "--log-format", "json"])
        .await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{log}");
    let lines = log.lines().map(serde_json::from_str);
    let lines: Vec<serde_json::Value> = lines.collect::<Result<_, _>>()?;
    let gone = lines.iter().find(|line| line["cluster"] == "Gone");
    assert_eq!(gone.context("no line of Gone")?["reason"], "missing");
    let books = lines.iter().rfind(|line| line["ticks"].is_u64());
    let books = books.context("no books")?;
    let of = |field: &str| books[field].as_u64().context(field.to_owned());
    assert_eq!(of("ticks")?, of("sampled")? + of("gaps")?);
    assert_eq!(of("published")?, 4 * of("sampled")?);
    Ok(())
}
