//! TLS to the collector, for endpoints with the scheme `https`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// The authorities that may sign the collector's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authorities {
    /// Those of the system, or of the file or folder that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    System,
    /// The certificates in this file, in PEM, and no others.
    File(PathBuf),
}

/// Why no connection with TLS can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the certificates in {path:?} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("{0:?} has no certificate in PEM that could be an authority's")]
    None(PathBuf),
    #[error(
        "this system has no certificates of authorities: install them (the package ca-certificates), or name a file of \
         certificates in OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoneOnSystem,
    #[error(transparent)]
    Version(#[from] rustls::Error),
}

impl Authorities {
    /// The certificates that may sign the collector's.
    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let certificates = match self {
            // A file that cannot be read is no fault while others can be.
            Self::System => rustls_native_certs::load_native_certs().certs,
            Self::File(path) => read(path).map_err(|source| TlsError::Unreadable {
                path: path.clone(),
                source,
            })?,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if !roots.is_empty() {
            return Ok(roots);
        }
        Err(match self {
            Self::System => TlsError::NoneOnSystem,
            Self::File(path) => TlsError::None(path.clone()),
        })
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

/// The connector for OTLP over HTTP.
pub(super) fn connector(
    authorities: &Authorities,
) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities.roots()?)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build())
}

/// The same for OTLP over gRPC.
pub(super) fn config(authorities: &Authorities) -> Result<ClientTlsConfig, TlsError> {
    Ok(ClientTlsConfig::new().trust_anchors(authorities.roots()?.roots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let path = std::env::temp_dir().join(format!("no-certificate-{}.pem", std::process::id()));
        let file = Authorities::File(path.clone());
        let error = file.roots().expect_err("there is no file").to_string();
        assert!(
            error.contains("cannot be read") && error.contains("no-certificate"),
            "{error}"
        );
        std::fs::write(&path, "nothing").expect("a temporary file");
        let error = file.roots().expect_err("it has none").to_string();
        std::fs::remove_file(&path).expect("it was written");
        assert!(error.contains("has no certificate in PEM"), "{error}");
    }
}
