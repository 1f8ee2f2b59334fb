//! Logging in to real servers with each plugin, the long way and the short one.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::*;
use crate::config::{Secret, Start, Tls};
use testkit::servers::{Kind, Server};

pub(super) fn source(server: &Server, user: &str, password: &str, tls: Tls) -> Source {
    Source {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        user: user.to_owned(),
        password: (!password.is_empty()).then(|| Secret::new(password.to_owned())),
        start_is_default: true,
        start: Start::Latest,
        tls,
        server_id: None,
        connect_timeout: Duration::from_secs(10),
        heartbeat_interval: Duration::from_secs(10),
    }
}

async fn log_in(server: &Server, user: &str, password: &str, tls: Tls) -> Result<(), Error> {
    let mut wire = Wire::connect(&source(server, user, password, tls)).await?;
    wire.statement("SET @a = 1").await?;
    // A refused statement leaves the connection as it was.
    let refused = wire.statement("SET nonsense").await;
    assert!(
        matches!(&refused, Err(Error::Server(error)) if error.code == 1064),
        "{refused:?}"
    );
    wire.statement("SET @b = 2").await
}

fn is_denied(outcome: &Result<(), Error>) -> bool {
    matches!(outcome, Err(Error::Server(error)) if error.code == 1045)
}

#[tokio::test]
async fn mysql_lets_in_whoever_has_the_password() -> Result<()> {
    let server = Server::start(Kind::Mysql, &[])?;
    server
        .sql("CREATE USER hydrant@'%' IDENTIFIED BY 'long, \"secret\"'; CREATE USER nobody@'%'")?;
    let secret = "long, \"secret\"";
    for tls in [Tls::Off, Tls::Encrypt] {
        // The server forgets who has proven the password before, so that it wants all of it.
        server.sql("FLUSH PRIVILEGES")?;
        log_in(&server, "hydrant", secret, tls.clone()).await?;
        log_in(&server, "hydrant", secret, tls.clone()).await?;
        log_in(&server, "nobody", "", tls.clone()).await?;
        let wrong = log_in(&server, "hydrant", "wrong", tls.clone()).await;
        ensure!(is_denied(&wrong), "{wrong:?}");
        // The server asks strangers for a plugin at random, so as not to tell who they are.
        let unknown = log_in(&server, "stranger", "x", tls).await;
        ensure!(unknown.is_err(), "a stranger was let in");
    }
    let unverified = log_in(&server, "hydrant", secret, Tls::Verify(None)).await;
    ensure!(matches!(unverified, Err(Error::Io(_))), "{unverified:?}");
    Ok(())
}

#[tokio::test]
async fn mariadb_lets_in_whoever_has_the_password() -> Result<()> {
    let server = Server::start(Kind::Mariadb, &[])?;
    server.sql(
        "CREATE USER hydrant@'%' IDENTIFIED BY 'secret'; \
         CREATE USER odd@'%' IDENTIFIED VIA unix_socket",
    )?;
    log_in(&server, "hydrant", "secret", Tls::Off).await?;
    let wrong = log_in(&server, "hydrant", "wrong", Tls::Off).await;
    ensure!(is_denied(&wrong), "{wrong:?}");
    let odd = log_in(&server, "odd", "", Tls::Off).await;
    ensure!(odd.is_err(), "let in without a password");
    let encrypted = log_in(&server, "hydrant", "secret", Tls::Encrypt).await;
    ensure!(
        matches!(encrypted, Err(Error::Driver(_))),
        "MariaDB 10.11 has no certificate of its own: {encrypted:?}"
    );
    Ok(())
}

/// MariaDB 11.8 makes itself a certificate.
#[tokio::test]
async fn mariadb_11_encrypts_without_being_told_how() -> Result<()> {
    let server = Server::start(Kind::Mariadb11, &[])?;
    server.sql("CREATE USER hydrant@'%' IDENTIFIED BY 'secret'")?;
    for tls in [Tls::Off, Tls::Encrypt] {
        log_in(&server, "hydrant", "secret", tls.clone()).await?;
        let wrong = log_in(&server, "hydrant", "wrong", tls).await;
        ensure!(is_denied(&wrong), "{wrong:?}");
    }
    let unverified = log_in(&server, "hydrant", "secret", Tls::Verify(None)).await;
    ensure!(matches!(unverified, Err(Error::Io(_))), "{unverified:?}");
    Ok(())
}
