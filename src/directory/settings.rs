//! [`DirectorySettings`]: how to reach and read one directory.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use crate::directory::ldap::filter::Filter;
use crate::tls::TlsOptions;

const DNS_PORT: u16 = 53;

/// How to reach and read one directory.
#[derive(Debug, Clone)]
pub struct DirectorySettings {
    /// The name of the directory; unique among all directories.
    pub name: String,
    /// The servers, at least one, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// Whether each connection is upgraded by StartTLS (RFC 4511, 4.14) before the bind. Only if every server is
    /// `ldap://`, or a domain.
    pub starttls: bool,
    /// Which certificates are trusted and presented. The files are read when the client of the directory is created
    /// and when it is renewed.
    pub tls: TlsOptions,
    /// The bind. EXTERNAL requires `ldapi://` or a client certificate over TLS.
    pub bind: Bind,
    /// The base of every search for people (scope subtree).
    pub base: String,
    /// Selects the members.
    pub filter: Filter,
    /// The DNs of the groups of which a member must be in one. If empty, the filter alone decides.
    pub groups: Vec<String>,
    /// The attribute that identifies a person. `None` is the server's own UUID; otherwise `stream` is `None` or
    /// [`StreamKind::Poll`].
    pub id_attribute: Option<String>,
    /// The attributes that are read of each entry.
    pub attributes: Vec<String>,
    /// How changes are learned; `None` is the best way that the server offers.
    pub stream: Option<StreamKind>,
    /// The time between two listings of the stream `poll`.
    pub poll_interval: Duration,
    /// Entries per page of a listing (RFC 2696).
    pub page_size: NonZeroU32,
    /// The largest message that the server may send, in bytes.
    pub max_message_size: usize,
}

/// How changes are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Content synchronisation (RFC 4533, refreshAndPersist): the server sends each changed entry.
    Syncrepl,
    /// Persistent search (draft-ietf-ldapext-psearch-03): the server reports which entry changed.
    PersistentSearch,
    /// Active Directory's change notification: the server reports which object changed.
    ActiveDirectory,
    /// A full listing at an interval.
    Poll,
}

impl StreamKind {
    /// Whether servers are known not to report some changes.
    pub fn misses_some(self) -> bool {
        matches!(self, Self::PersistentSearch | Self::ActiveDirectory)
    }

    /// The name in the configuration, in `status` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syncrepl => "syncrepl",
            Self::PersistentSearch => "persistent-search",
            Self::ActiveDirectory => "active-directory",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How to authenticate to the server.
#[derive(Debug, Clone)]
pub enum Bind {
    /// No bind.
    Anonymous,
    /// A DN and its password.
    Simple {
        /// The DN.
        dn: String,
        /// The password.
        password: SecretString,
    },
    /// SASL EXTERNAL (RFC 4422, appendix A): as the Unix user on ldapi://, or as the client certificate over TLS.
    External,
    /// SASL GSSAPI (RFC 4752): as the owner of a Kerberos ticket, over TLS.
    Kerberos,
}

impl Bind {
    /// The account, for messages and logs.
    pub fn who(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Simple { dn, .. } => dn,
            Self::External => "SASL EXTERNAL",
            Self::Kerberos => "Kerberos",
        }
    }
}

/// One server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// ldap:// or ldaps://
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether TLS is used from the first byte.
        tls: bool,
        /// The DNS server to ask for the host's address; `None` for those of the system.
        dns: Option<SocketAddr>,
    },
    /// The domain controllers of an Active Directory domain, found by DNS at each connection.
    Domain {
        /// The domain's DNS name.
        name: String,
        /// The DNS server to ask; `None` for those of the system.
        dns: Option<SocketAddr>,
        /// Controllers outside the domain that are also trusted.
        others: Vec<HostPattern>,
    },
    /// ldapi://
    Unix {
        /// The path of the socket.
        path: String,
    },
}

/// A pattern for host names: one host, or all hosts in a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// Reads `dc1.example.org`, or `.example.org` for every host in that domain.
    ///
    /// # Errors
    /// A text that names what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
        if is_host_name(name.strip_prefix('.').unwrap_or(&name)) {
            Ok(Self(name))
        } else {
            Err(format!(
                "\"{text}\" is not the name of a host; write it as in \"dc1.example.org\", or \".example.org\" for every host in that domain"
            ))
        }
    }

    pub(crate) fn admits(&self, host: &str) -> bool {
        if self.0.starts_with('.') {
            host.ends_with(&self.0)
        } else {
            host == self.0
        }
    }
}

/// Whether this is a host name (RFC 952, and the underscore that Windows allows).
fn is_host_name(name: &str) -> bool {
    name.split('.').all(|label| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    })
}

impl Server {
    /// Reads `ldap://host[:port]`, `ldaps://host[:port]` or `ldapi://%2Fpath` (RFC 4516 and OpenLDAP's ldapi form), and
    /// `ad:domain` or `ad://dns-server[:port]/domain`, which is to Active Directory what RFC 4501 is to DNS.
    ///
    /// # Errors
    /// A text that names what is wrong and what is expected.
    pub fn parse(url: &str) -> Result<Self, String> {
        let parsed = url::Url::parse(url).map_err(|error| {
            format!("{url} is not a URL ({error}); write ldaps://host, ldap://host:port or ldapi://%2Fpath")
        })?;
        if parsed.scheme() == "ad" {
            return domain(&parsed);
        }
        if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
            return Err(format!(
                "{url} has more than scheme, host and port; base and filter have keys of their own"
            ));
        }
        let host = parsed.host_str().unwrap_or_default();
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host)
            .to_owned();
        let tls = match parsed.scheme() {
            "ldap" => false,
            "ldaps" => true,
            "ldapi" => {
                let path = percent_decode_str(&host).decode_utf8_lossy().into_owned();
                return if path.starts_with('/') {
                    Ok(Self::Unix { path })
                } else {
                    Err(format!(
                        "{url} names no socket; write its path with %2F for each slash, as in ldapi://%2Frun%2Fslapd%2Fldapi"
                    ))
                };
            }
            other => {
                return Err(format!(
                    "{url} has the scheme {other}; ldap, ldaps, ldapi and ad are known"
                ));
            }
        };
        if host.is_empty() {
            return Err(format!("{url} names no host"));
        }
        Ok(Self::Tcp {
            host,
            port: parsed.port().unwrap_or(if tls { 636 } else { 389 }),
            tls,
            dns: None,
        })
    }
}

/// Reads the URL of a domain. In place of a host it may have a DNS server.
fn domain(url: &url::Url) -> Result<Server, String> {
    let expected = "write ad:example.org with the domain's DNS name, or ad://10.0.0.53/example.org to ask that DNS server";
    let name = url.path().trim_matches('/').to_ascii_lowercase();
    if !is_host_name(&name) || url.query().is_some() {
        return Err(format!("{url} names no domain; {expected}"));
    }
    let dns = match url.host_str() {
        None | Some("") => None,
        Some(host) => {
            let address = host
                .trim_matches(['[', ']'])
                .parse()
                .map_err(|_| format!("{url} does not name its DNS server by its address; {expected}"))?;
            Some(SocketAddr::new(address, url.port().unwrap_or(DNS_PORT)))
        }
    };
    Ok(Server::Domain {
        name,
        dns,
        others: Vec::new(),
    })
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls, .. } => {
                let scheme = if *tls { "ldaps" } else { "ldap" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
            Self::Domain { name, dns: None, .. } => write!(f, "ad:{name}"),
            Self::Domain {
                name, dns: Some(dns), ..
            } => write!(f, "ad://{dns}/{name}"),
            Self::Unix { path } => write!(f, "ldapi://{}", path.replace('/', "%2F")),
        }
    }
}

impl DirectorySettings {
    /// Base and filter, which identify a directory that was renamed in the configuration.
    pub fn scope(&self) -> String {
        format!("{}\n{}", self.base, self.filter)
    }

    /// A text with everything on which a cursor depends. A cursor that was stored with another text is not used.
    pub fn fingerprint(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        [
            servers.join(" "),
            self.bind.who().to_owned(),
            self.base.clone(),
            self.filter.to_string(),
            self.attributes.join(" "),
        ]
        .into_iter()
        .chain(self.groups.iter().cloned())
        .chain(self.id_attribute.clone())
        .collect::<Vec<_>>()
        .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_print_as_they_are_reached() {
        for (url, shown) in [
            ("ldap://localhost", "ldap://localhost:389"),
            ("ldaps://ldap.example.org/", "ldaps://ldap.example.org:636"),
            ("ldap://[::1]:3389", "ldap://[::1]:3389"),
            ("ldapi://%2Frun%2Fslapd%2Fldapi", "ldapi://%2Frun%2Fslapd%2Fldapi"),
            ("ldapi://%2frun%2fldapi/", "ldapi://%2Frun%2Fldapi"),
            ("ad:Example.org", "ad:example.org"),
            ("ad://10.0.0.53/example.org", "ad://10.0.0.53:53/example.org"),
            ("ad://[::1]:5353/lab.test", "ad://[::1]:5353/lab.test"),
        ] {
            assert_eq!(
                Server::parse(url).map(|s| s.to_string()).as_deref(),
                Ok(shown),
                "{url}"
            );
        }
    }

    #[test]
    fn urls_that_cannot_work_say_why() {
        for url in [
            "localhost",
            "http://localhost",
            "ldap://",
            "ldapi://localhost",
            "ldap://h/dc=x",
            "ldap://h:99999",
            "ad:",
            "ad://example.org",
            "ad://dns.example.org/example.org",
            "ad:dc=example,dc=org",
        ] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_host_is_named_by_itself_or_by_its_domain() {
        let admits = |pattern: &str, host| HostPattern::parse(pattern).unwrap().admits(host);
        assert!(admits("DC1.example.org.", "dc1.example.org"));
        assert!(!admits("example.org", "dc1.example.org"));
        assert!(admits(".example.org", "dc1.example.org"));
        assert!(!admits(".example.org", "dc1.anexample.org"));
        for wrong in ["", ".", "ldap://dc1", "*.example.org", "a..b"] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
