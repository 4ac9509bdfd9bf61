//! The HTTP client that the exporter sends spans with.

use std::error::Error;
use std::iter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

use super::tls::{self, Authorities, TlsError};

/// Why the last request failed: the exporter itself only says "network error". Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause(Arc<Mutex<Option<String>>>);

impl Cause {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: &(dyn Error + 'static)) {
        let chain = iter::successors(Some(error), |&error| error.source());
        let mut parts: Vec<_> = chain.map(ToString::to_string).collect();
        // Some errors repeat what they were caused by.
        parts.dedup_by(|inner, outer| outer.contains(&**inner));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(parts.join(": "));
    }
}

/// A client that notes why a request fails.
#[derive(Debug)]
pub(super) struct Client {
    transport: Box<dyn HttpClient>,
    cause: Cause,
}

impl Client {
    /// A client with this timeout for a request, with TLS if there are authorities.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if there is no certificate to check the collector's by.
    pub(super) fn new(
        tls: Option<&Authorities>,
        timeout: Duration,
        cause: Cause,
    ) -> Result<Self, TlsError> {
        let transport: Box<dyn HttpClient> = match tls {
            None => Box::new(HyperClient::with_default_connector(timeout, None)),
            Some(authorities) => {
                let connector = tls::connector(authorities)?;
                Box::new(HyperClient::new(connector, timeout, None))
            }
        };
        Ok(Self { transport, cause })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The cause of an earlier failure says nothing of this request.
        self.cause.take();
        let sent = self.transport.send_bytes(request).await;
        sent.inspect_err(|error| self.cause.set(&**error))
    }
}
