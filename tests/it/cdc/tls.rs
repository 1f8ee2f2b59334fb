//! Encrypted connections: which certificates are believed.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::setup::agent::Workplace;
use crate::setup::certificates::make_certificates;
use testkit::servers::Server;

fn server_with_certificate_for(folder: &Path, name: &str) -> Result<Server> {
    make_certificates(folder, name)?;
    let file = |option: &str, file: &str| format!("--{option}={}", folder.join(file).display());
    let options = [
        file("ssl-ca", "ca.pem"),
        file("ssl-cert", "server.pem"),
        file("ssl-key", "server.key"),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = Server::mysql(&options)?;
    // This user is let in over TLS only.
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id int); INSERT INTO shop.T VALUES (1); \
         CREATE USER hydrant@'%' REQUIRE SSL; GRANT SELECT ON shop.T TO hydrant@'%'; \
         GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO hydrant@'%'",
    )?;
    Ok(server)
}

/// A configuration with these lines in its [source].
fn config(server: &Server, tls: &str) -> String {
    format!(
        "[source]\nurl = \"mysql://hydrant@localhost:{}\"\nstart = \"earliest\"\n{tls}\n\
         [[table]]\nname = \"shop.T\"\n[sink]\ntype = \"stdout\"\n",
        server.port()
    )
}

fn refused(server: &Server, tls: &str, said: &str) -> Result<()> {
    let output = Workplace::new(&config(server, tls))?.run(&["--until", "now"])?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(
        !output.status.success() && stderr.contains(said),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn only_a_certificate_by_a_known_authority_for_the_right_name_is_believed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = server_with_certificate_for(folder.path(), "localhost")?;
    let authority = format!("tls_ca = \"{}\"", folder.path().join("ca.pem").display());
    assert_eq!(
        Workplace::new(&config(&server, &authority))?.drain()?,
        "1\n"
    );
    assert_eq!(
        Workplace::new(&config(&server, "tls = \"encrypt\""))?.drain()?,
        "1\n"
    );
    refused(&server, "tls = \"off\"", "Access denied")?;
    refused(&server, "tls = \"verify\"", "UnknownIssuer")?;

    let other = tempfile::tempdir()?;
    let server = server_with_certificate_for(other.path(), "db.example")?;
    let authority = format!("tls_ca = \"{}\"", other.path().join("ca.pem").display());
    refused(&server, &authority, "source.tls_ca")
}
