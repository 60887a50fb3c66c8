//! Sends traces to a collector: OTLP over HTTP, in protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

mod collector;
#[cfg(feature = "otel")]
mod exporter;

use std::sync::Arc;

use secrecy::SecretString;
use url::Url;

pub use collector::TracesError;
use collector::{Client, Collector};

use crate::tls::TlsOptions;

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

    /// Other headers, and the TLS files as they are now. Nothing changes before [`Renewal::apply`].
    ///
    /// # Errors
    /// A file of the TLS options cannot be used.
    pub fn renewal(&self, settings: Option<&TracesSettings>) -> Result<Renewal<'_>, TracesError> {
        let renewed = self.collector.as_deref().zip(settings);
        let renewed = renewed.map(|(collector, settings)| collector.renewal(settings));
        Ok(Renewal(renewed.transpose()?))
    }

    /// Sends what has not been sent, for three seconds at most.
    pub async fn finish(self) {
        #[cfg(feature = "otel")]
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }
}

/// What [`Traces::renewal`] has checked.
#[must_use = "nothing changes before it is applied"]
pub struct Renewal<'a>(Option<(&'a Collector, Client)>);

impl Renewal<'_> {
    /// Uses it from now on.
    pub fn apply(self) {
        if let Some((collector, client)) = self.0 {
            collector.use_client(client);
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
