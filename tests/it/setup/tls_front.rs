//! HTTPS in front of a server that speaks HTTP, as a company's own authority certifies it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificates::make_certificates;

/// Listens on a port of its own, for as long as its runtime lives.
pub(crate) struct TlsFront {
    folder: TempDir,
    port: u16,
}

impl TlsFront {
    /// In front of what listens at this address, HOST:PORT.
    pub(crate) async fn of(server: String) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        make_certificates(folder.path(), "localhost")?;
        let acceptor = TlsAcceptor::from(Arc::new(config(folder.path())?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                // A client that does not believe the certificate hangs up.
                tokio::spawn(async move {
                    let mut client = acceptor.accept(client).await?;
                    let mut server = TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Ok(Self { folder, port })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

fn config(folder: &Path) -> Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).context("PEM")?;
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).context("key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth();
    Ok(config.with_single_cert(vec![certificate], key)?)
}
