//! What a request says of the browser that sent it: its session, where it came from, and whether the page itself sent it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use tokio::time::Instant;
use url::Url;

use super::Page;
use super::session::Session;
use crate::telemetry::http::Peer;

/// The names of the cookie. A browser takes the first one only over TLS, and sends it to no other host.
const COOKIE_OF_TLS: &str = "__Host-ldap-usher";
const COOKIE: &str = "ldap-usher";

/// A browser.
pub(super) struct Browser {
    /// The identifier of its session; `None` unless it is signed in.
    pub(super) id: Option<String>,
    /// Its session.
    pub(super) session: Option<Session>,
    /// Where it is, in words, for the journal and the log: the client, and the proxy that says that it asks for that one.
    pub(super) from: String,
    /// Whether the page itself, and no other site, made the browser send this.
    pub(super) is_own: bool,
    /// Whether a proxy in front says that it speaks TLS. It is only a hint: whoever lies about it loses their own session.
    tls: bool,
}

impl FromRequestParts<Page> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, page: &Page) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.to_canonical());
        let headers = &parts.headers;
        let tls = text(headers, "x-forwarded-proto") == Some("https");
        let id = cookie(headers, cookie_name(tls));
        let session = id.and_then(|id| page.0.sessions.get(id, Instant::now()));
        // Each proxy appends the address from which it was asked, so the last one is that of the proxy in front.
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
        let forwarded =
            forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        let forwarded: Option<IpAddr> = forwarded.filter(|_| !is_public(peer));
        Ok(Self {
            id: session.is_some().then(|| id.map(str::to_owned)).flatten(),
            session,
            from: match forwarded {
                Some(client) => format!("{client} (by the proxy {peer})"),
                None => peer.to_string(),
            },
            is_own: is_own(headers),
            tls,
        })
    }
}

impl Browser {
    /// The header that gives a browser a session, or takes it away.
    pub(super) fn set_cookie(&self, id: Option<&str>) -> String {
        let name = cookie_name(self.tls);
        let secure = if self.tls { "; Secure" } else { "" };
        let age = if id.is_some() { "" } else { "; Max-Age=0" };
        let id = id.unwrap_or_default();
        format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")
    }
}

fn cookie_name(tls: bool) -> &'static str {
    if tls { COOKIE_OF_TLS } else { COOKIE }
}

/// Whether an address is of the public network, where no proxy of ours is.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !(four.is_loopback() || four.is_private() || four.is_link_local()),
        IpAddr::V6(six) => !(six.is_loopback() || six.is_unique_local() || six.is_unicast_link_local()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(header::COOKIE).iter();
    let mut pairs = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Browsers say in `Sec-Fetch-Site` who made them send a request, if they trust the connection, and in `Origin` otherwise.
fn is_own(headers: &HeaderMap) -> bool {
    if let Some(site) = text(headers, "sec-fetch-site") {
        return site == "same-origin";
    }
    let host = text(headers, "host");
    let origin = text(headers, "origin").and_then(|origin| Url::parse(origin).ok());
    let origin = origin.and_then(|origin| {
        let port = origin.port().map_or_else(String::new, |port| format!(":{port}"));
        Some(format!("{}{port}", origin.host_str()?))
    });
    matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_the_page_itself_may_have_sent_a_request() {
        let own = |pairs: &[(&'static str, &'static str)]| is_own(&headers(pairs));
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(own(&[("host", "[::1]:9464"), ("origin", "http://[::1]:9464")]));
        assert!(own(&[
            ("host", "usher.example.org"),
            ("origin", "https://Usher.example.org")
        ]));
        for pairs in [
            &[][..],
            &[("sec-fetch-site", "same-site")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("host", "a"),
                ("origin", "http://a"),
            ],
            &[("host", "a"), ("origin", "http://b")],
            &[("host", "a"), ("origin", "http://a:80.evil.org")],
            &[("host", "a:1"), ("origin", "http://a:2")],
            &[("host", "a"), ("origin", "null")],
            &[("host", "a")],
        ] {
            assert!(!own(pairs), "{pairs:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let sent = headers(&[
            ("cookie", "x=1; ldap-usher2=2;ldap-usher=3"),
            ("cookie", "__Host-ldap-usher=4"),
        ]);
        assert_eq!(cookie(&sent, COOKIE), Some("3"));
        assert_eq!(cookie(&sent, COOKIE_OF_TLS), Some("4"));
        assert_eq!(cookie(&sent, "y"), None);
    }
}
