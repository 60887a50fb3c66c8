//! Sends traces to a collector: OTLP over HTTP, in protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

mod collector;
#[cfg(feature = "otel")]
mod exporter;

use std::sync::Arc;

use secrecy::SecretString;
use url::Url;

pub use collector::TracesError;

use crate::tls::TlsOptions;
use collector::Collector;

/// Where traces go.
#[derive(Debug, Clone)]
pub struct TracesSettings {
    /// The `http` or `https` URL that takes traces, without credentials.
    pub url: Url,
    /// Headers for each request, one `Name: value` per line.
    pub headers: Option<SecretString>,
    /// TLS: which certificates are trusted.
    pub tls: TlsOptions,
}

/// The traces of this process, from [`Traces::start`] to [`Traces::finish`].
pub struct Traces {
    collector: Option<Arc<Collector>>,
    #[cfg(feature = "otel")]
    exporter: Option<exporter::Exporter>,
}

impl Traces {
    /// Begins to record traces and to send them; does neither without settings.
    ///
    /// # Errors
    /// A file of the TLS options or a variable of OpenTelemetry cannot be used.
    pub fn start(settings: Option<&TracesSettings>) -> Result<Self, TracesError> {
        let collector = settings.map(Collector::new).transpose()?.map(Arc::new);
        Ok(Self {
            #[cfg(feature = "otel")]
            exporter: collector
                .as_ref()
                .map(|collector| exporter::Exporter::start(collector.clone()))
                .transpose()?,
            collector,
        })
    }

    /// Uses other headers, and reads the TLS files again. Needs [`Traces::start`] to have had settings.
    ///
    /// # Errors
    /// A file of the TLS options cannot be used; nothing changes.
    pub fn renew(&self, settings: Option<&TracesSettings>) -> Result<(), TracesError> {
        match (&self.collector, settings) {
            (Some(collector), Some(settings)) => collector.renew(settings),
            _ => Ok(()),
        }
    }

    /// Sends what has not been sent, for three seconds at most.
    pub async fn finish(self) {
        #[cfg(feature = "otel")]
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }
}

/// Sends no trace, to see whether the collector takes any. Returns what it answers.
///
/// # Errors
/// It cannot be reached, or refuses.
pub async fn check(settings: &TracesSettings) -> Result<String, TracesError> {
    let status = Collector::new(settings)?.post(Vec::new().into()).await?;
    Ok(format!("the collector takes traces (status {status})"))
}
