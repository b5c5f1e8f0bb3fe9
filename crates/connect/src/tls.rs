//! TLS of a connection: the server's certificate is always verified, name included; ours is shown if there is one.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_postgres::tls::TlsConnect;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;
use super::bounded::Bounded;

/// What TLS needs from the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Certificates of the authorities that may vouch for the server.
    pub root: PathBuf,
    /// Our certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// One TLS connection to be.
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    pub fn new(files: &Files, host: &str) -> Result<Self, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::from("the host is no name that a certificate could have"))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.root, "sslrootcert")? {
            let added = roots.add(certificate);
            added.map_err(|_| Failure::from("sslrootcert holds what is no certificate"))?;
        }
        let provider = Arc::new(rustls_graviola::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure(error.to_string()))?
            .with_root_certificates(roots);
        let config = match &files.client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(certificates(certificate, "sslcert")?, private_key(key)?)
                .map_err(|_| Failure::from("sslkey is not the key of sslcert"))?,
        };
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, name })
    }
}

impl TlsConnect<TcpStream> for Tls {
    type Stream = Bounded<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let connecting = self.connector.connect(self.name, stream);
            connecting.await.map(Bounded::new)
        })
    }
}

fn certificates(file: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Failure(format!("{what} cannot be read as certificates"))),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|_| Failure::from("sslkey cannot be read as a private key without a password"))
}
