//! The server that takes traces.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::Body;
pub(super) use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use url::Url;

use super::TracesSettings;
use crate::http_client::{self, CONNECT_TIMEOUT, Failure, SetupError};
use crate::tls::TlsError;

/// How long a request may take, answer included.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The TLS options cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client or the exporter cannot be made.
    #[error("the traces for {url} cannot be set up: {cause}")]
    Setup {
        /// The collector's URL.
        url: String,
        /// Why.
        cause: String,
    },
    /// There is no answer.
    #[error(
        "{url} cannot be reached: {cause}; check `url` in [traces], and that the collector takes OTLP over HTTP there"
    )]
    Unreachable {
        /// The collector's URL.
        url: String,
        /// Why.
        cause: String,
    },
    /// The answer is a refusal.
    #[error("{url} refuses traces (status {status}); {}", remedy(*.status))]
    Refused {
        /// The collector's URL.
        url: String,
        /// The status of the answer.
        status: u16,
    },
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "give what authorises this service by `headers` in [traces]",
        404 | 405 => "check the path in `url` of [traces], which is /v1/traces for most collectors",
        415 => "check that it takes OTLP in protobuf",
        _ => "see its log",
    }
}

/// The server that takes traces.
#[derive(Debug)]
pub(super) struct Collector {
    url: Url,
    client: Mutex<Client>,
}

impl Collector {
    pub(super) fn new(settings: &TracesSettings) -> Result<Self, TracesError> {
        Ok(Self {
            url: settings.url.clone(),
            client: Mutex::new(client(settings)?),
        })
    }

    /// Its URL.
    pub(super) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// A client with other settings, except for the URL.
    pub(super) fn renewal(&self, settings: &TracesSettings) -> Result<(&Self, Client), TracesError> {
        Ok((self, client(settings)?))
    }

    /// Uses this client from now on.
    pub(super) fn use_client(&self, client: Client) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Sends spans, an `ExportTraceServiceRequest` in protobuf. Returns the status of an answer that takes them.
    pub(super) async fn post(&self, spans: Body) -> Result<u16, TracesError> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = client.post(self.url.clone()).body(spans);
        let sent = request.header(CONTENT_TYPE, "application/x-protobuf").send();
        match sent.await {
            Ok(answer) if answer.status().is_success() => Ok(answer.status().as_u16()),
            Ok(answer) => Err(TracesError::Refused {
                url: self.url().to_owned(),
                status: answer.status().as_u16(),
            }),
            Err(error) => Err(TracesError::Unreachable {
                url: self.url().to_owned(),
                cause: match Failure::of(&error, self.url.scheme() == "https") {
                    Failure::Untrusted(cause) | Failure::Unconnected(cause) | Failure::Lost(cause) => cause,
                },
            }),
        }
    }
}

fn client(settings: &TracesSettings) -> Result<Client, TracesError> {
    let setup = |cause: String| TracesError::Setup {
        url: settings.url.to_string(),
        cause,
    };
    let builder = http_client::builder(settings.url.scheme() == "https", &settings.tls, None);
    let builder = builder.map_err(|error| match error {
        SetupError::Tls(error) => error.into(),
        // There is none.
        SetupError::Proxy => setup("the proxy is not a URL".into()),
    })?;
    let headers = settings.headers.as_ref().map(http_client::read_headers);
    let headers = headers.transpose().map_err(setup)?.unwrap_or_default();
    let builder = builder
        .default_headers(headers)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(DEADLINE);
    builder.build().map_err(|error| setup(error.to_string()))
}
