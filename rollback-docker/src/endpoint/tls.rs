//! [`Tls`]: TCP to a daemon that is known by a certificate, and knows this program by one.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription as Alert, CertificateError};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::address::Address;
use super::certificates::Certificates;
use super::dial::connect;
use super::refusal::Refusal;
use crate::error;

/// A daemon's address, and by what it and this program know each other.
#[derive(Clone)]
pub(crate) struct Tls {
    address: Address,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Tls {
    /// Reads the files.
    pub(super) async fn new(address: &Address, files: &Certificates) -> Result<Self, BackendError> {
        let read = {
            let files = files.clone();
            tokio::task::spawn_blocking(move || config(&files)).await
        };
        let config =
            read.map_err(|e| error::io("cannot read", "the certificates", io::Error::other(e)))?;
        let name = ServerName::try_from(address.host.clone());
        let name = name.map_err(|_| {
            let what = "no certificate can be of such a name";
            BackendError::new(Kind::InvalidReference, what).on(address)
        })?;
        Ok(Self {
            address: address.clone(),
            name,
            connector: TlsConnector::from(Arc::new(config?)),
        })
    }

    pub(super) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = connect(&self.address).await?;
        self.connector.connect(self.name.clone(), stream).await
    }
}

fn config(files: &Certificates) -> Result<ClientConfig, BackendError> {
    let mut roots = RootCertStore::empty();
    for ca in certificates(&files.ca)? {
        roots.add(ca).map_err(|e| unusable(&files.ca, e))?;
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| unusable(&files.key, e))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| unusable(&files.ca, e))?;
    builder
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&files.cert)?, key)
        .map_err(|e| unusable(&files.cert, e))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BackendError> {
    let all = CertificateDer::pem_file_iter(path).map_err(|e| unusable(path, e))?;
    let all: Result<Vec<_>, _> = all.collect();
    match all.map_err(|e| unusable(path, e))? {
        none if none.is_empty() => Err(unusable(path, "it has no certificate in it")),
        all => Ok(all),
    }
}

/// What is wrong with a file, without anything of what is in it.
fn unusable(path: &Path, why: impl std::fmt::Display) -> BackendError {
    let what = format!("the certificates for the daemon cannot be used ({why})");
    BackendError::new(Kind::Unauthorized, what)
        .on(path.display())
        .advice("see that the files are there, in PEM, readable, and belong together")
        .untouched()
}

/// What an error of TLS means for people.
pub(super) fn refusal(cause: &(dyn Error + 'static)) -> Option<Refusal> {
    let e = cause.downcast_ref::<rustls::Error>()?;
    let (what, advice) = match e {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                "the daemon's certificate is not of the CA that it was to be of",
                "see which CA the daemon's certificate is of: somebody else may be answering",
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ("the daemon's certificate has expired", "renew it")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (
                    "the daemon's certificate is of another host",
                    "use a name that is in it, or have one made for this name",
                )
            }
            _ => (
                "the daemon's certificate is not good",
                "have another one made",
            ),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            Alert::CertificateRequired | Alert::HandshakeFailure | Alert::NoCertificate => (
                "the daemon wants a certificate of this program",
                "have one made by the daemon's CA",
            ),
            Alert::CertificateExpired => ("this program's certificate has expired", "renew it"),
            Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::AccessDenied
            | Alert::DecryptError => (
                "the daemon does not take this program's certificate",
                "have one made by the daemon's CA, for a client, that has not expired",
            ),
            _ => return None,
        },
        _ => return None,
    };
    Some(Refusal::new(
        Kind::Unauthorized,
        format!("{what} ({e})"),
        advice,
    ))
}
