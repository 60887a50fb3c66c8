//! Records spans and hands them to the collector, in batches and in the background.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use opentelemetry::global;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};

use super::TracesError;
use super::collector::Collector;
use crate::traces;

/// How long the last spans may take.
const FINISH: Duration = Duration::from_secs(3);

pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Begins to record spans. What the variables of OpenTelemetry say about sampling, limits and resource holds.
    pub(super) fn start(collector: Arc<Collector>) -> Result<Self, TracesError> {
        let url = collector.url().to_owned();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&url)
            .with_http_client(Sender {
                collector,
                runtime: Handle::current(),
                is_failing: AtomicBool::default(),
            })
            .build()
            .map_err(|error| TracesError::Setup {
                url: url.clone(),
                cause: error.to_string(),
            })?;
        let provider = SdkTracerProvider::builder()
            .with_id_generator(Ids::default())
            .with_resource(resource())
            .with_batch_exporter(exporter)
            .build();
        global::set_tracer_provider(provider.clone());
        traces::record();
        info!(url, "sending traces");
        Ok(Self(provider))
    }

    pub(super) async fn finish(self) {
        // It blocks until the spans are sent, which this thread does.
        let finished = spawn_blocking(move || self.0.shutdown_with_timeout(FINISH)).await;
        if let Ok(Err(error)) = finished {
            debug!(%error, "the last traces are lost");
        }
    }
}

/// This service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` call it otherwise.
fn resource() -> Resource {
    let resource = Resource::builder().build();
    let name = resource.get(&Key::new("service.name"));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder();
    if !is_named {
        builder = builder.with_service_name("ldap-usher");
    }
    builder
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Random identities, except for a trace that is known when a span begins.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        traces::next().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Sends what the exporter's own thread has encoded, on the runtime.
struct Sender {
    collector: Arc<Collector>,
    runtime: Handle,
    is_failing: AtomicBool,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl HttpClient for Sender {
    fn send_bytes<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> BoxFuture<'async_trait, Result<Response<Bytes>, HttpError>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        let collector = self.collector.clone();
        let sent = async move { collector.post(request.into_body().into()).await };
        let sent = self.runtime.spawn(sent);
        Box::pin(async move {
            let sent = sent.await?;
            let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
            match sent {
                Ok(status) => {
                    if was_failing {
                        info!("traces are sent again");
                    }
                    Ok(Response::builder().status(status).body(Bytes::new())?)
                }
                Err(error) => {
                    failure!(
                        !was_failing,
                        %error,
                        "traces cannot be sent and are discarded; nothing else is affected"
                    );
                    match error {
                        // It says whether to try again.
                        TracesError::Refused { status, .. } => {
                            Ok(Response::builder().status(status).body(Bytes::new())?)
                        }
                        error => Err(error.into()),
                    }
                }
            }
        })
    }
}
