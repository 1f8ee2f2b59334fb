//! What can be wrong at the start: each gives one message with a remedy, and its exit code.

use anyhow::{Context as _, Result};

use crate::setup::agent::{Workplace, config};
use crate::setup::sales::{SALES, sales_table};
use crate::setup::snapshot::Reports;
use testkit::servers::Server;

const CONFIG: i32 = 78;
const PERMISSION: i32 = 77;
const UNAVAILABLE: i32 = 69;
const DATA: i32 = 65;
const USAGE: i32 = 64;

/// Where configurations that cannot work are tried, and what was said of them.
struct Refusals {
    workplace: Workplace,
    reports: Reports,
}

impl Refusals {
    fn new() -> Result<Self> {
        Ok(Self {
            workplace: Workplace::new("")?,
            reports: Reports::default(),
        })
    }

    /// Runs one, and checks what is said about it.
    fn add(&mut self, text: &str, exit: i32, said: &[&str]) -> Result<()> {
        self.workplace.configure(text)?;
        let output = self.workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        let report: Vec<&str> = log
            .lines()
            .filter(|line| !line.contains(" INFO "))
            .collect();
        let report = report.join("\n");
        assert_eq!(output.status.code(), Some(exit), "{report}");
        assert_eq!(report.matches("hydrant: ").count(), 1, "{report}");
        let (_, remedy) = report
            .split_once("\n  remedy: ")
            .with_context(|| report.clone())?;
        assert!(
            !remedy.trim().is_empty() && !remedy.contains('\n'),
            "{report}"
        );
        for part in said {
            assert!(report.contains(part), "{part:?} is not in: {report}");
        }
        assert!(!report.contains("hunter2"), "{report}");
        self.reports.add(&said.join(", "), &output);
        Ok(())
    }
}

#[test]
fn a_wrong_source_is_told_with_its_remedy() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    server.sql(
        "CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'right'; \
         GRANT SELECT ON shop.* TO reader@'127.0.0.1'; \
         CREATE USER client@'127.0.0.1'; GRANT SELECT ON shop.* TO client@'127.0.0.1'; \
         GRANT REPLICATION CLIENT ON *.* TO client@'127.0.0.1'; \
         CREATE USER blind@'127.0.0.1'; \
         GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO blind@'127.0.0.1'",
    )?;
    let mut refusals = Refusals::new()?;
    let good = config(&server, sales_table(), "type = \"stdout\"");
    let user = |user: &str| good.replace("root@", &format!("{user}@"));

    refusals.add(
        &user("reader:hunter2"),
        PERMISSION,
        &["1045", "source.password"],
    )?;
    let by_key = user("reader").replace("[source]", "[source]\npassword = \"hunter2\"");
    refusals.add(&by_key, PERMISSION, &["Access denied"])?;
    refusals.add(
        &user("reader:right"),
        PERMISSION,
        &["REPLICATION CLIENT", "GRANT"],
    )?;
    refusals.add(&user("client"), PERMISSION, &["REPLICATION SLAVE", "GRANT"])?;
    refusals.add(&user("blind"), CONFIG, &["shop.Sales", "GRANT SELECT"])?;
    refusals.add(
        &good.replace("shop.Sales", "shop.Sale"),
        CONFIG,
        &["no table shop.Sale,", "did you mean shop.Sales?"],
    )?;
    refusals.add(
        &good.replace("\"Category\"", "\"Categry\""),
        CONFIG,
        &["no column Categry", "did you mean Category?"],
    )?;
    refusals.add(
        &good.replace("start =", "strat ="),
        CONFIG,
        &["source.strat", "did you mean `start`?"],
    )?;
    refusals.add(
        &good.replace("\"earliest\"", "\"binlog.000099:4\""),
        DATA,
        &["binlog.000099"],
    )?;
    refusals.add(
        &good.replace(&server.port().to_string(), "1"),
        UNAVAILABLE,
        &["127.0.0.1:1", "source.url"],
    )?;
    let tls = good.replace("[source]", "[source]\ntls = \"verify\"");
    refusals.add(&tls, CONFIG, &["TLS", "source.tls_ca"])?;
    refusals.reports.assert("errors-source");
    Ok(())
}

#[test]
fn settings_that_lose_rows_are_refused() -> Result<()> {
    let mut server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let mut refusals = Refusals::new()?;
    let good = config(&server, sales_table(), "type = \"stdout\"");
    for (setting, back, said) in [
        (
            "binlog_format = 'STATEMENT'",
            "binlog_format = 'ROW'",
            "binlog_format = STATEMENT",
        ),
        (
            "binlog_expire_logs_seconds = 60",
            "binlog_expire_logs_seconds = 864000",
            "keeps its binlogs for 60 s only",
        ),
    ] {
        server.sql(&format!("SET GLOBAL {setting}"))?;
        refusals.add(&good, CONFIG, &[said, "SET PERSIST"])?;
        server.sql(&format!("SET GLOBAL {back}"))?;
    }
    // What minimal images leave out may be nothing that is written; names can be asked for.
    server
        .sql("SET GLOBAL binlog_row_image = 'MINIMAL', GLOBAL binlog_row_metadata = 'MINIMAL'")?;
    refusals.workplace.configure(&good)?;
    let output = refusals.workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{log}");
    for said in [
        "binlog_row_image = MINIMAL",
        "binlog_row_metadata = MINIMAL",
    ] {
        assert!(log.contains("WARN") && log.contains(said), "{log}");
    }
    server.restart(&["--skip-log-bin"])?;
    refusals.add(&good, CONFIG, &["binlog is off", "log_bin"])?;
    refusals.reports.assert("errors-mysql-settings");
    Ok(())
}

#[test]
fn mariadb_settings_that_lose_rows_are_refused() -> Result<()> {
    let server = Server::mariadb(&[])?;
    server.sql(SALES)?;
    let mut refusals = Refusals::new()?;
    let good = config(&server, sales_table(), "type = \"stdout\"");
    for (setting, back, said) in [
        (
            "binlog_format = 'MIXED'",
            "binlog_format = 'ROW'",
            "binlog_format = MIXED",
        ),
        ("expire_logs_days = 0.01", "expire_logs_days = 0", "s only"),
    ] {
        server.sql(&format!("SET GLOBAL {setting}"))?;
        refusals.add(&good, CONFIG, &[said, "SET GLOBAL"])?;
        server.sql(&format!("SET GLOBAL {back}"))?;
    }
    refusals.reports.assert("errors-mariadb-settings");
    Ok(())
}

#[test]
fn a_wrong_sink_is_told_with_its_remedy() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let data = tempfile::tempdir()?;
    let options = hydrant::sim::Options {
        listen: "127.0.0.1:0".parse()?,
        data: data.path().into(),
        ..Default::default()
    };
    let simulator = runtime.block_on(hydrant::sim::Simulator::start(options))?;
    let mut refusals = Refusals::new()?;
    let sink = |endpoint: &str| format!("stream = \"Missing\"\nendpoint = \"{endpoint}\"");
    let missing = config(&server, sales_table(), &sink(&simulator.endpoint_url()));
    refusals.add(
        &missing,
        CONFIG,
        &["Missing", "ResourceNotFoundException", "sink.stream"],
    )?;
    refusals.workplace.configure(&missing)?;
    let output = refusals
        .workplace
        .run_without_credentials(&["--until", "now"])?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(PERMISSION), "{stderr}");
    assert!(stderr.contains("give AWS credentials"), "{stderr}");
    let down = config(&server, sales_table(), &sink("http://127.0.0.1:1"));
    refusals.add(
        &down,
        UNAVAILABLE,
        &["Missing at http://127.0.0.1:1", "endpoint"],
    )?;
    let nowhere = "stream = \"Missing\"\nregion = \"eu-wset-9\"";
    refusals.add(
        &config(&server, sales_table(), nowhere),
        CONFIG,
        &[
            "no region eu-wset-9",
            "did you mean eu-west-",
            "sink.region",
        ],
    )?;
    let file = refusals.workplace.path("a-file");
    std::fs::write(&file, "")?;
    let no_folder = config(
        &server,
        sales_table(),
        &format!("path = \"{}\"", file.display()),
    );
    refusals.add(&no_folder, CONFIG, &["a-file", "name another"])?;
    refusals.reports.assert("errors-sink");
    Ok(())
}

#[test]
fn a_checkpoint_of_another_server_is_refused() -> Result<()> {
    let mut refusals = Refusals::new()?;
    // MariaDB's servers are told apart by their numbers, if those are different ones.
    for start in [Server::mysql, Server::mariadb] {
        let (first, second) = (start(&["--server-id=1"])?, start(&["--server-id=2"])?);
        for server in [&first, &second] {
            server.sql(SALES)?;
        }
        first.sql("INSERT INTO shop.Sales (ItemID, Quantity) VALUES (1, 1)")?;
        let _ = std::fs::remove_file(refusals.workplace.path("checkpoint.json"));
        refusals
            .workplace
            .configure(&config(&first, sales_table(), "type = \"stdout\""))?;
        refusals.workplace.drain()?;
        let other = config(&second, sales_table(), "type = \"stdout\"");
        refusals.add(
            &other,
            DATA,
            &["checkpoint is of another server", "delete the checkpoint"],
        )?;
    }
    refusals.reports.assert("errors-checkpoint");
    Ok(())
}

#[test]
fn a_wrong_command_line_exits_with_usage() -> Result<()> {
    let workplace = Workplace::new("")?;
    let output = workplace.run(&["--untill", "now"])?;
    assert_eq!(output.status.code(), Some(USAGE));
    assert!(String::from_utf8(output.stderr)?.contains("--until"));
    let output = workplace.run(&["--until", "tomorrow"])?;
    assert_eq!(output.status.code(), Some(USAGE));
    assert!(String::from_utf8(output.stderr)?.contains("binlog.000042:4"));
    Ok(())
}
