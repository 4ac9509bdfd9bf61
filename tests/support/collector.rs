//! An OpenTelemetry collector over a real socket: the official protobuf messages over HTTP, and the official service over
//! gRPC, both on one port.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tonic::body::Body;
use warp::http::{Request, Response};

use crate::support::eventually;

/// What a collector does with spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It takes them.
    Takes,
    /// It accepts connections, and never answers.
    Silent,
}

/// A span as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// How it has come.
    pub(crate) path: String,
    /// A header of the request that it has come with: that for secrets.
    pub(crate) authorization: Option<String>,
    /// What is said of its process.
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) span: Span,
}

impl Received {
    /// An attribute of the span, as text.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        text(&self.span.attributes, name)
    }

    /// An attribute of its process, as text.
    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        text(&self.resource, name)
    }

    /// The names of the events, each with an attribute.
    pub(crate) fn events(&self, attribute: &str) -> Vec<(String, Option<String>)> {
        let events = self.span.events.iter();
        events
            .map(|event| (event.name.clone(), text(&event.attributes, attribute)))
            .collect()
    }

    pub(crate) fn trace_id(&self) -> String {
        hex::encode(&self.span.trace_id)
    }
}

/// The value of an attribute, as text.
pub(crate) fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let pair = attributes.iter().find(|pair| pair.key == name)?;
    let AnyValue { value } = pair.value.clone()?;
    Some(match value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(value) => value.to_string(),
        // Arrays here have one value.
        Value::ArrayValue(array) => match &array.values[..] {
            [
                AnyValue {
                    value: Some(Value::StringValue(text)),
                },
            ] => text.clone(),
            _ => format!("{array:?}"),
        },
        other => format!("{other:?}"),
    })
}

/// A collector, until it is dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    /// How many connections there have been.
    connections: Arc<AtomicUsize>,
    /// How many there have been that are no longer.
    ended: Arc<AtomicUsize>,
    closing: Arc<Notify>,
    spans: Inbox,
    /// Its certificate in PEM, if it speaks TLS.
    certificate: Option<String>,
    runtime: Option<Runtime>,
}

/// A port of the system's choice that nobody listens on, nor can, as long as this is there.
pub(crate) struct Vacant(TcpSocket);

impl Vacant {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        Self(socket)
    }

    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT` that means it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("it is bound"))
    }
}

impl Collector {
    /// One on a port of the system's choice.
    pub(crate) fn start(manner: Manner) -> Self {
        Self::at(Vacant::new(), manner)
    }

    /// One that speaks TLS, with a certificate that it signed itself.
    pub(crate) fn with_tls() -> Self {
        let key = KeyPair::generate().expect("a key");
        let names = ["127.0.0.1".to_owned()];
        let parameters = CertificateParams::new(names).expect("a name");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a certificate and its key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(config));
        let mut collector = Self::on(Vacant::new(), Manner::Takes, Some(tls));
        collector.certificate = Some(certificate.pem());
        collector
    }

    /// Its certificate in PEM.
    pub(crate) fn certificate(&self) -> &str {
        self.certificate.as_deref().expect("it speaks TLS")
    }

    /// One on this port.
    pub(crate) fn at(vacant: Vacant, manner: Manner) -> Self {
        Self::on(vacant, manner, None)
    }

    fn on(vacant: Vacant, manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(async { vacant.0.listen(128) })
            .expect("a port of its own");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let spans = Inbox::default();
        let (ended, closing) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
        let (end_count, close) = (Arc::clone(&ended), Arc::clone(&closing));
        let (count, inbox) = (Arc::clone(&connections), spans.clone());
        runtime.spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                if manner == Manner::Silent {
                    kept.push(stream);
                    continue;
                }
                let inbox = inbox.clone();
                let (end_count, close) = (Arc::clone(&end_count), Arc::clone(&close));
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => inbox.serve(TokioIo::new(stream), &close).await,
                        // A client that does not trust it ends the handshake.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                inbox.serve(TokioIo::new(stream), &close).await;
                            }
                        }
                    }
                    end_count.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            connections,
            ended,
            closing,
            spans,
            certificate: None,
            runtime: Some(runtime),
        }
    }

    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT` that means it.
    pub(crate) fn url(&self) -> String {
        let scheme = match self.certificate {
            None => "http",
            Some(_) => "https",
        };
        format!("{scheme}://{}", self.address)
    }

    /// Closes the connections that there are, as one that restarts does, and waits until they are.
    pub(crate) fn close_connections(&self) {
        self.closing.notify_waiters();
        eventually("the connections are closed", || {
            self.ended.load(Ordering::SeqCst) == self.connections()
        });
    }

    /// How many connections it has seen.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// All spans that have come so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.spans.0.lock().expect("no panic").clone()
    }

    /// The spans of this trace, once there are this many.
    pub(crate) fn trace(&self, id: &str, count: usize) -> Vec<Received> {
        let of_it = || -> Vec<_> {
            let mut all = self.received();
            all.retain(|received| received.trace_id() == id);
            all
        };
        eventually("the trace has come", || of_it().len() >= count);
        // One too many would come with the same batch, or soon after.
        std::thread::sleep(Duration::from_millis(50));
        let spans = of_it();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.runtime
            .take()
            .expect("dropped once")
            .shutdown_background();
    }
}

/// The spans that have come.
#[derive(Clone, Debug, Default)]
struct Inbox(Arc<Mutex<Vec<Received>>>);

impl Inbox {
    /// Serves a connection until it ends, or until it is to be closed.
    async fn serve(&self, stream: impl Read + Write + Unpin + Send + 'static, close: &Notify) {
        let service = hyper::service::service_fn(move |request| {
            let inbox = self.clone();
            async move { inbox.answer(request).await }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        let mut served = pin!(server.serve_connection(stream, service));
        tokio::select! {
            _ = &mut served => {}
            () = close.notified() => {
                served.as_mut().graceful_shutdown();
                let _ = served.await;
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, std::convert::Infallible> {
        let path = request.uri().path().to_owned();
        let headers = request.headers();
        let authorization = headers
            .get("authorization")
            .map(|value| value.to_str().expect("text").to_owned());
        let call = Call {
            path,
            authorization,
            inbox: self.clone(),
        };
        if call.path != "/v1/traces" {
            let service = TowerToHyperService::new(TraceServiceServer::new(call));
            return service.call(request).await;
        }
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let mut body = request.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let data = frame.expect("a whole body").into_data();
            bytes.extend_from_slice(&data.expect("no trailers"));
        }
        call.take(ExportTraceServiceRequest::decode(&*bytes).expect("protobuf"));
        // Nothing is the answer that has nothing to say.
        Ok(Response::new(Body::empty()))
    }
}

/// One export.
#[derive(Debug)]
struct Call {
    path: String,
    authorization: Option<String>,
    inbox: Inbox,
}

impl Call {
    fn take(&self, request: ExportTraceServiceRequest) {
        let mut inbox = self.inbox.0.lock().expect("no panic");
        for of_a_resource in request.resource_spans {
            let resource = of_a_resource.resource.expect("a resource").attributes;
            for scope in of_a_resource.scope_spans {
                inbox.extend(scope.spans.into_iter().map(|span| Received {
                    path: self.path.clone(),
                    authorization: self.authorization.clone(),
                    resource: resource.clone(),
                    span,
                }));
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Call {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.take(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}
