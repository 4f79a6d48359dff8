//! TLS to a PostgreSQL server by rustls, in the form that tokio-postgres asks for.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as Encrypted;

use crate::{Address, Error, trust};

/// Encrypts connections and verifies the server's certificate.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Tls {
    /// Trusts the system's roots and those that the address names, or else those in `ca_file` (PEM).
    ///
    /// # Errors
    /// A file that the address names, or `ca_file`, cannot be read or used; a certificate is named without its key, or a key
    /// without its certificate.
    pub fn new(address: &Address, ca_file: Option<&Path>) -> Result<Tls, Error> {
        let ca_file = address.ca_file.as_deref().or(ca_file);
        let identity = match (address.certificate.as_deref(), address.key.as_deref()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Error::HalfAnIdentity),
        };
        let config = trust::client_config_with(ca_file, address.any_name, identity)?;
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }
}

/// Drives the client that it came with.
pub type ServerConnection = tokio_postgres::Connection<Socket, Stream<Socket>>;

/// Whether connecting failed of the server's certificate: of an authority that is not trusted, for another host, or not valid
/// now.
pub fn certificate_refused(error: &tokio_postgres::Error) -> bool {
    let refused = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(refused, Some(rustls::Error::InvalidCertificate(_)))
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls(…)")
    }
}

/// Encrypts one connection to a server of this name (empty for a Unix socket, which is never encrypted).
pub struct ToServer {
    connector: TlsConnector,
    host: String,
}

/// An encrypted connection.
pub struct Stream<S>(Encrypted<S>);

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = ToServer;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<ToServer> {
        Ok(ToServer {
            connector: self.0.clone(),
            host: host.to_owned(),
        })
    }
}

impl<S> TlsConnect<S> for ToServer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            Ok(Stream(self.connector.connect(name, stream).await?))
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::Tls;
    use crate::{Address, Error};

    #[test]
    fn half_an_identity_is_an_error() {
        for half in ["sslcert=c.pem", "sslkey=k.pem"] {
            let address = Address::parse(&format!("host=db sslmode=verify-full {half}"));
            let made = Tls::new(&address, None);
            assert!(matches!(made, Err(Error::HalfAnIdentity)), "{half}");
        }
        assert!(Tls::new(&Address::parse("host=db"), None).is_ok());
    }
}
