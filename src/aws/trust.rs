//! Which authorities' certificates AWS's endpoints may have.
//!
//! Source: "AWS CLI environment variables" (`AWS_CA_BUNDLE`) and "Configuration and credential file settings" (`ca_bundle`):
//! a file of PEM certificates, believed instead of the system's; the variable wins over the profile.

use std::path::{Path, PathBuf};

use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use tokio::sync::OnceCell;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::{Exit, Failure};

const VARIABLE: &str = "AWS_CA_BUNDLE";

/// What all connections of the process believe; the files are read once.
///
/// # Errors
/// If the file that is named cannot be read, or is no certificate.
pub(super) async fn context() -> Result<TlsContext, Failure> {
    static CONTEXT: OnceCell<TlsContext> = OnceCell::const_new();
    CONTEXT.get_or_try_init(load).await.cloned()
}

async fn load() -> Result<TlsContext, Failure> {
    let mut trusted = TrustStore::default();
    if let Some((path, named_by)) = bundle().await {
        trusted = TrustStore::empty().with_pem_certificate(read(&path, &named_by)?);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    context.map_err(|error| {
        let what = format!("certificates cannot be used: {error}");
        Failure::definite(Exit::Config, what, "check AWS_CA_BUNDLE")
    })
}

/// The file, and what names it.
async fn bundle() -> Option<(PathBuf, String)> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Some((path.into(), VARIABLE.to_owned()));
    }
    #[expect(
        clippy::default_trait_access,
        reason = "nothing else needs the crates of the real file system, environment and usual files"
    )]
    // The SDK reads the files too, and says what is wrong with them.
    let profiles = aws_config::profile::load(
        &Default::default(),
        &Default::default(),
        &Default::default(),
        None,
    )
    .await;
    let profiles = profiles.ok()?;
    let path = profiles.get("ca_bundle").filter(|path| !path.is_empty())?;
    let named_by = format!(
        "ca_bundle of the AWS profile {}",
        profiles.selected_profile()
    );
    Some((path.into(), named_by))
}

/// The file, after a look at each of its certificates: the client would panic later.
fn read(path: &Path, named_by: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |why: String| {
        Failure::definite(
            Exit::Config,
            format!("{named_by}: {}: {why}", path.display()),
            "name a file of certificates in PEM that can be read, or leave it out",
        )
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|it| roots.add(it).map_err(|error| error.to_string()));
        added.map_err(wrong)?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_bundle_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let why = |path: &Path| {
            let failure = read(path, VARIABLE).unwrap_err();
            assert_eq!(failure.exit, Exit::Config);
            assert!(failure.what.starts_with(VARIABLE) && failure.what.contains("ca.pem"));
            failure.what
        };
        assert!(why(&path).contains("No such file"));
        std::fs::write(&path, "not PEM").unwrap();
        assert!(why(&path).contains("no certificate in it"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, broken).unwrap();
        why(&path);
        std::fs::write(&path, broken.replace("AAAA", "!")).unwrap();
        why(&path);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(&path, &pem).unwrap();
        assert_eq!(read(&path, VARIABLE).unwrap(), pem.into_bytes());
    }
}
