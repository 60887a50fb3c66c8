//! One URL to which requests are sent.

use std::time::Duration;

use futures::TryFutureExt;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use super::NotifyError;
use super::notification::CONTENT_TYPE as CLOUD_EVENT;
use crate::config;
use crate::foreign;
use crate::http_client::{self, CONNECT_TIMEOUT, Failure, SetupError, retry_after};

/// How long a request may take, answer included.
const DEADLINE: Duration = Duration::from_secs(30);
/// How much of an answer is read, in bytes.
const LARGEST_BODY: usize = 1024;
/// Parts of a URL that are shorter than this are not hidden in answers: they are no secrets, and are words of messages.
const SHORTEST_SECRET: usize = 6;

/// One URL. Redirects are not followed.
pub(super) struct Target {
    client: Client,
    url: Url,
    /// Scheme and host, for messages.
    shown: String,
    /// What must not appear in messages, longest first.
    hidden: Vec<String>,
}

impl Target {
    pub(super) fn new(url: &SecretString, config: &config::Notify) -> Result<Self, NotifyError> {
        let url = Url::parse(url.expose_secret()).map_err(|_| NotifyError::Url { what: "URL" })?;
        let shown = url.origin().ascii_serialization();
        let builder = http_client::builder(url.scheme() == "https", &config.tls, config.proxy.as_ref());
        let client = builder
            .map_err(|error| match error {
                SetupError::Tls(error) => error.into(),
                SetupError::Proxy => NotifyError::Url { what: "proxy" },
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| NotifyError::Setup {
                to: shown.clone(),
                cause: error.to_string(),
            })?;
        let mut hidden = secrets_of(&url);
        hidden.extend(
            config
                .secret
                .iter()
                .map(|secret| secret.expose_secret().to_owned()),
        );
        hidden.sort_by_key(|part| std::cmp::Reverse(part.len()));
        Ok(Self {
            client,
            url,
            shown,
            hidden,
        })
    }

    /// Scheme and host.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Requests the URL. Returns the answer.
    pub(super) async fn get(&self) -> Result<String, NotifyError> {
        let answer = self.send(self.client.get(self.url.clone())).await?;
        self.judge(&answer)
    }

    /// Sends a notification. Returns the answer.
    pub(super) async fn post(&self, headers: HeaderMap, body: String) -> Result<String, NotifyError> {
        let request = self.client.post(self.url.clone());
        let request = request
            .headers(headers)
            .header(CONTENT_TYPE, CLOUD_EVENT)
            .body(body);
        let answer = self.send(request).await?;
        self.judge(&answer)
    }

    /// Whether the server answers at all. It gets a HEAD request for `/`, so that neither a secret in the URL is used nor
    /// a ping is counted.
    pub(super) async fn reach(&self) -> Result<String, NotifyError> {
        let mut root = self.url.clone();
        root.set_path("/");
        root.set_query(None);
        // These fail only for URLs without a host.
        let _ = root.set_username("");
        let _ = root.set_password(None);
        let answer = self.send(self.client.head(root)).await?;
        Ok(format!("the server answers (status {})", answer.status.as_u16()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, NotifyError> {
        let to = || self.shown.clone();
        let failed = |error: reqwest::Error| match Failure::of(&error, self.url.scheme() == "https") {
            Failure::Untrusted(cause) => NotifyError::Untrusted { to: to(), cause },
            Failure::Unconnected(cause) | Failure::Lost(cause) => {
                NotifyError::Unreachable { to: to(), cause }
            }
        };
        let silent = || NotifyError::Unreachable {
            to: to(),
            cause: format!("no answer within {}s", DEADLINE.as_secs()),
        };
        // The path may be a secret.
        let answered = http_client::send(request, "", DEADLINE);
        let answered = answered
            .map_err(|_| silent())
            .and_then(async |answer| Answer::read(answer.map_err(failed)?).await.map_err(failed));
        timeout(DEADLINE, answered)
            .await
            .unwrap_or_else(|_| Err(silent()))
    }

    /// Whether an answer accepts the request.
    fn judge(&self, answer: &Answer) -> Result<String, NotifyError> {
        let said = self.without_secrets(&answer.body);
        // A page for browsers explains nothing in a line of a log.
        let said = if said.is_empty() || said.starts_with('<') {
            String::new()
        } else {
            format!(": {said}")
        };
        let (to, status) = (self.shown.clone(), answer.status.as_u16());
        match status {
            200..=299 => Ok(format!("status {status}{said}")),
            408 | 425 | 429 | 500.. => Err(NotifyError::Unavailable {
                to,
                status,
                said,
                wait: answer.wait,
            }),
            _ => Err(NotifyError::Refused { to, status, said }),
        }
    }

    /// Text of the server, which may repeat the URL.
    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.trim().to_owned();
        for secret in &self.hidden {
            text = text.replace(secret.as_str(), "***");
        }
        foreign::shown(&text)
    }
}

struct Answer {
    status: StatusCode,
    wait: Option<Duration>,
    /// The beginning of its body.
    body: String,
}

impl Answer {
    async fn read(mut response: Response) -> Result<Self, reqwest::Error> {
        let mut body = Vec::new();
        while body.len() < LARGEST_BODY
            && let Some(chunk) = response.chunk().await?
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(LARGEST_BODY);
        let wait = response.headers().get(RETRY_AFTER);
        Ok(Self {
            status: response.status(),
            wait: wait.and_then(|wait| retry_after(wait.to_str().ok()?)),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// The parts of a URL that may be a secret, as they are written and decoded.
fn secrets_of(url: &Url) -> Vec<String> {
    let segments = url.path_segments().into_iter().flatten();
    let query = url.query_pairs().map(|(_, value)| value.into_owned());
    let mut parts: Vec<String> = segments.map(str::to_owned).chain(query).collect();
    parts.extend(url.query().map(str::to_owned));
    parts.extend(url.password().map(str::to_owned));
    parts.extend([url.username().to_owned(), url.path().to_owned(), url.to_string()]);
    parts.retain(|part| part.len() >= SHORTEST_SECRET);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_server_repeats_of_the_url_is_hidden() {
        let url: Url = "https://ann:passphrase@hooks.example.org/services/T0KEN-1?key=T0KEN%2D2"
            .parse()
            .unwrap();
        let parts = secrets_of(&url);
        for secret in ["T0KEN-1", "T0KEN-2", "key=T0KEN%2D2", "passphrase"] {
            assert!(parts.iter().any(|part| part == secret), "{secret}: {parts:?}");
        }
        assert!(!parts.iter().any(|part| part == "ann"), "{parts:?}");
    }
}
