//! HTTP clients that talk to one server and nowhere else, and their failures in words.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Proxy, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::foreign;
use crate::tls::{self, Progress, TlsError, TlsOptions};
use crate::traces::{self, Span};

/// The deadline of a TCP connection with its TLS handshake.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest `Retry-After` that is respected.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Why there is no client.
#[derive(Debug)]
pub(crate) enum SetupError {
    Tls(TlsError),
    /// The URL of the proxy cannot be used.
    Proxy,
}

/// A client for one server: it follows no redirects, and uses no proxies that the environment names. `https` says whether
/// the server's URL is of that scheme.
///
/// # Errors
/// A TLS file or the proxy cannot be used.
pub(crate) fn builder(
    https: bool,
    tls: &TlsOptions,
    proxy: Option<&SecretString>,
) -> Result<ClientBuilder, SetupError> {
    // TLS is never used with other schemes, because redirects are not followed; so no CA certificates are loaded.
    let unused = TlsOptions {
        verify: false,
        ..TlsOptions::default()
    };
    let tls = if https { tls } else { &unused };
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.client_config().map_err(SetupError::Tls)?)
        .user_agent(concat!("ldap-usher/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy();
    match proxy {
        None => Ok(builder),
        // The library's error might repeat the password.
        Some(proxy) => match Proxy::all(proxy.expose_secret()) {
            Ok(proxy) => Ok(builder.proxy(proxy)),
            Err(_) => Err(SetupError::Proxy),
        },
    }
}

/// Sends a request and waits up to `deadline` for the beginning of its answer, in a span of its own. `route` is the path of the
/// URL without what may name a person or be a secret. If the span is recorded, the server gets to know it by the header
/// `traceparent` (<https://www.w3.org/TR/trace-context/>).
pub(crate) async fn send(
    request: RequestBuilder,
    route: &str,
    deadline: Duration,
) -> Result<reqwest::Result<Response>, Elapsed> {
    let (client, request) = request.build_split();
    let mut request = match request {
        Ok(request) => request,
        Err(error) => return Ok(Err(error)),
    };
    let (method, url) = (request.method().to_string(), request.url());
    let name = format!("{method} {route}");
    let mut span = Span::request(name.trim_end().to_owned())
        .with("http.request.method", method)
        .with("server.address", url.host_str().unwrap_or_default().to_owned());
    if let Some(port) = url.port_or_known_default() {
        span = span.with("server.port", i64::from(port));
    }
    let sent = async move {
        if let Some(parent) = traces::traceparent().and_then(|parent| parent.parse().ok()) {
            request.headers_mut().insert("traceparent", parent);
        }
        let answer = timeout(deadline, client.execute(request)).await;
        match &answer {
            Ok(Ok(answer)) => {
                let status = answer.status();
                traces::attribute("http.response.status_code", i64::from(status.as_u16()));
                if status.is_client_error() || status.is_server_error() {
                    traces::failed(status.as_str().to_owned());
                }
            }
            Ok(Err(error)) if error.is_connect() => traces::failed("unconnected"),
            Ok(Err(_)) => traces::failed("lost"),
            Err(_) => traces::failed("timeout"),
        }
        answer
    };
    span.run(sent).await
}

/// Parses lines of `Name: value`. Empty lines are ignored.
///
/// # Errors
/// The number of the first line that is not a header. The line is not repeated, because it may hold a secret.
pub(crate) fn read_headers(text: &SecretString) -> Result<HeaderMap, String> {
    let lines = text.expose_secret().lines().enumerate();
    let written = lines.filter(|(_, line)| !line.trim().is_empty());
    let mut headers = HeaderMap::new();
    for (i, line) in written {
        let header = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        });
        let Some((name, value)) = header else {
            return Err(format!(
                "line {} is not a header; write each as Name: value",
                i + 1
            ));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// The status and the text of the answer of a service on this machine, of which at most 16 KiB are read.
///
/// # Errors
/// There is no complete answer within `deadline`; the innermost cause.
pub(crate) async fn ask_locally(url: &str, deadline: Duration) -> Result<(u16, String), String> {
    const LONGEST: usize = 16 << 10;
    let ask = async {
        let client = builder(false, &TlsOptions::default(), None)
            .map_err(|_| "no client can be made".to_owned())?
            .build()
            .map_err(|error| innermost(&error))?;
        let mut answer = client.get(url).send().await.map_err(|error| innermost(&error))?;
        let (status, mut text) = (answer.status().as_u16(), Vec::new());
        while text.len() < LONGEST
            && let Some(more) = answer.chunk().await.map_err(|error| innermost(&error))?
        {
            text.extend_from_slice(&more);
        }
        text.truncate(LONGEST);
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    };
    timeout(deadline, ask)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {deadline:?}")))
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The TLS handshake failed; the message of rustls, and the remedy for common failures.
    Untrusted(String),
    /// There is no connection; the innermost cause.
    Unconnected(String),
    /// The connection broke after the request, or a part of it, was sent; the innermost cause.
    Lost(String),
}

impl Failure {
    /// Interprets the library's error. No text contains the URL.
    pub(crate) fn of(error: &reqwest::Error, https: bool) -> Self {
        if let Some(refusal) = tls_error(error) {
            Self::Untrusted(tls::explain(refusal))
        } else if !error.is_connect() {
            Self::Lost(innermost(error))
        } else if https && is_cut_off(error) {
            Self::Unconnected(tls::broken_off(Progress::Unknown))
        } else {
            Self::Unconnected(innermost(error))
        }
    }
}

/// The wait in a `Retry-After` in seconds, an hour at most. `None` for the form with a date, and for anything else.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    let seconds = value.trim();
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    match seconds.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds).min(LONGEST_WAIT)),
        // Larger than a u64.
        Err(_) => is_number.then_some(LONGEST_WAIT),
    }
}

/// The message of the innermost cause. The outer ones only say that a request failed.
fn innermost(mut error: &(dyn Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    foreign::shown(&error.to_string())
}

/// Whether the peer accepted the connection and then closed it.
fn is_cut_off(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|io| matches!(io.kind(), UnexpectedEof | ConnectionReset)) {
        return true;
    }
    // An I/O error does not name what it wraps as its source.
    match io.and_then(io::Error::get_ref) {
        Some(wrapped) => is_cut_off(wrapped),
        None => error.source().is_some_and(is_cut_off),
    }
}

/// The rustls error within `error`. I/O errors wrap it without naming it as their source.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    match error.downcast_ref::<io::Error>() {
        Some(io) => tls_error(io.get_ref()?),
        None => tls_error(error.source()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_an_hour_at_most_whatever_the_server_asks_for() {
        assert_eq!(retry_after("17"), Some(Duration::from_secs(17)));
        for forever in ["3601", "99999999999", "99999999999999999999999999"] {
            assert_eq!(retry_after(forever), Some(LONGEST_WAIT), "{forever}");
        }
        for other in ["", "-1", "soon", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(retry_after(other), None, "{other}");
        }
    }

    #[test]
    fn headers_are_lines_and_a_wrong_one_is_named_by_its_number_alone() {
        let read = |text: &str| read_headers(&text.into());
        let headers = read("X-A: b: c\n\n x-d : e \r\n").unwrap();
        assert_eq!(
            (headers.len(), &headers["x-a"], &headers["x-d"]),
            (
                2,
                &HeaderValue::from_static("b: c"),
                &HeaderValue::from_static("e")
            )
        );
        assert!(headers.values().all(HeaderValue::is_sensitive));
        for wrong in ["X-A: b\nhidden", "X-A: b\nhid den: x", "X-A: b\nhidden: \u{1}"] {
            let problem = read(wrong).unwrap_err();
            assert!(
                problem.contains("line 2") && !problem.contains("hid"),
                "{problem}"
            );
        }
    }
}
