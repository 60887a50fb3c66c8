//! The steps of a session, one at a time, for `check`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ldap3::Scope;
use tokio::net::UnixStream;

use crate::directory::DirectoryError;
use crate::directory::client::LdapDirectory;
use crate::directory::ldap::access::Access;
use crate::directory::ldap::capabilities::{Capabilities, Family};
use crate::directory::ldap::connect;
use crate::directory::ldap::deadline::deadline;
use crate::directory::ldap::endpoint::Endpoint;
use crate::directory::ldap::request::{Item, Request};
use crate::directory::ldap::result::one_line;
use crate::directory::ldap::search::check_base;
use crate::directory::ldap::session::Session;
use crate::directory::ldap::{decode, dn, dns, domain_controller, root_dse};
use crate::directory::people::groups::{Groups, Identities};
use crate::directory::settings::{DirectorySettings, Server};
use crate::tls::{self, Presented, TlsOptions};

/// The largest number of alias entries that are read.
const ALIASES: u32 = 100;
/// How long a server without an index may search for one.
const ALIASES_PATIENCE: Duration = Duration::from_secs(15);

/// The servers of an address in `url`: the controllers of a domain, or the server itself.
///
/// # Errors
/// The domain has no controller, or DNS does not answer.
pub async fn servers(server: &Server, settings: &DirectorySettings) -> Result<Vec<Server>, DirectoryError> {
    dns::servers(server, settings.starttls).await
}

/// Resolves the name of the server, and describes the result.
///
/// # Errors
/// The name cannot be resolved.
pub async fn resolve(server: &Server) -> Result<String, DirectoryError> {
    let name = server.to_string();
    match server {
        Server::Unix { .. } => Ok("a socket on this machine, which needs no name".into()),
        Server::Domain { .. } => Ok(format!("{name} is looked up in DNS")),
        Server::Tcp { host, .. } if host.parse::<IpAddr>().is_ok() => {
            Ok(format!("{host} is an address, which needs no resolving"))
        }
        Server::Tcp { host, port, dns, .. } => {
            let addresses = dns::addresses(&name, host, *port, *dns).await?;
            let addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            Ok(format!("{host} is {}", addresses.join(", ")))
        }
    }
}

/// Connects to the server, and describes the result.
///
/// # Errors
/// The connection fails.
pub async fn reach(server: &Server) -> Result<String, DirectoryError> {
    let name = server.to_string();
    match server {
        Server::Tcp { host, port, dns, .. } => {
            let addresses = dns::addresses(&name, host, *port, *dns).await?;
            drop(connect::dial(&name, addresses).await?);
        }
        Server::Domain { .. } => drop(dns::servers(server, false).await?),
        Server::Unix { path } => drop(
            deadline(&name, "connecting", UnixStream::connect(path))
                .await?
                .map_err(|error| DirectoryError::Connect {
                    server: name.clone(),
                    cause: format!("{path}: {error}"),
                })?,
        ),
    }
    Ok(format!("{name} accepts connections"))
}

/// Describes the certificate that the server presents, trusted or not; `None` if TLS is not used.
///
/// # Errors
/// The TLS handshake fails.
pub async fn presented(
    server: &Server,
    settings: &DirectorySettings,
) -> Result<Option<Presented>, DirectoryError> {
    let anyone = TlsOptions {
        verify: false,
        ..TlsOptions::default()
    };
    let anyone = anyone.client_config().map_err(|error| DirectoryError::Tls {
        server: server.to_string(),
        cause: error.to_string(),
    })?;
    handshake(server, settings, &Arc::new(anyone)).await
}

/// Checks that the certificate is trusted, as configured.
///
/// # Errors
/// It is not trusted.
pub async fn trusted(
    server: &Server,
    settings: &DirectorySettings,
    access: &SharedAccess,
) -> Result<(), DirectoryError> {
    handshake(server, settings, &access.0.tls()).await.map(drop)
}

/// Makes the handshake, and describes the certificate; `None` if TLS is not used.
async fn handshake(
    server: &Server,
    settings: &DirectorySettings,
    config: &Arc<rustls::ClientConfig>,
) -> Result<Option<Presented>, DirectoryError> {
    let name = server.to_string();
    match server {
        Server::Tcp { host, port, tls, dns } if *tls || settings.starttls => {
            let addresses = dns::addresses(&name, host, *port, *dns).await?;
            let mut stream = connect::dial(&name, addresses).await?;
            if !tls {
                let asked = connect::start_tls(&name, &mut stream);
                deadline(&name, "negotiating StartTLS", asked).await??;
            }
            let wrapped = connect::wrap(&name, host, stream, config, !tls);
            let stream = deadline(&name, "negotiating TLS", wrapped).await??;
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            Ok(Some(tls::describe(certificates.first().map(AsRef::as_ref))))
        }
        _ => Ok(None),
    }
}

/// A connection after the bind.
pub struct BoundServer {
    session: Session,
}

/// What the checks of one directory share: its TLS configuration, and its credentials. A password that one server refused
/// is not sent to another one.
pub struct SharedAccess(Arc<Access>);

impl SharedAccess {
    /// Reads the files of the TLS options; nothing is contacted yet.
    ///
    /// # Errors
    /// [`DirectoryError::Settings`] if the TLS options cannot be used.
    pub fn new(settings: &DirectorySettings) -> Result<Self, DirectoryError> {
        Access::new(settings).map(|access| Self(Arc::new(access)))
    }

    /// A directory with these settings, which differ in nothing that is shared.
    pub fn directory(&self, settings: DirectorySettings) -> LdapDirectory {
        LdapDirectory::with_access(settings, self.0.clone())
    }
}

/// Binds, as the service does.
///
/// # Errors
/// The connection or the bind fails.
pub async fn bind(
    server: &Server,
    settings: &DirectorySettings,
    access: &SharedAccess,
) -> Result<BoundServer, DirectoryError> {
    let endpoint = Endpoint {
        server: server.clone(),
        peer: None,
    };
    Ok(BoundServer {
        session: connect::authenticate(&endpoint, settings, &access.0).await?,
    })
}

impl BoundServer {
    /// Describes the capabilities of the server, and returns the attribute that identifies entries.
    ///
    /// # Errors
    /// The root DSE cannot be read.
    pub async fn capabilities(
        &mut self,
        settings: &DirectorySettings,
    ) -> Result<(String, String), DirectoryError> {
        let can = self.read_capabilities(settings).await?;
        if can.family == Family::ActiveDirectory {
            let text = domain_controller::describe(&mut self.session).await?;
            return Ok((text, can.identity.to_string()));
        }
        let offers = |offered| if offered { "offered" } else { "not offered" };
        let text = format!(
            "persistent search {}, content synchronisation (RFC 4533) {}, paged results (RFC 2696) {}, identity by {}",
            offers(can.persistent_search),
            offers(can.syncrepl),
            offers(can.paging),
            can.identity
        );
        Ok((text, can.identity.to_string()))
    }

    async fn read_capabilities(
        &mut self,
        settings: &DirectorySettings,
    ) -> Result<Arc<Capabilities>, DirectoryError> {
        root_dse::read(&mut self.session, settings.id_attribute.as_deref()).await?;
        Ok(self.session.capabilities().clone())
    }

    /// Describes the groups on which membership depends, and returns whether they have members; `None` if there are none.
    ///
    /// # Errors
    /// A group does not exist, or the account may not read it.
    pub async fn groups(
        &mut self,
        settings: &DirectorySettings,
        access: &SharedAccess,
    ) -> Result<Option<(String, bool)>, DirectoryError> {
        self.read_capabilities(settings).await?;
        connect::read_schema(&mut self.session, settings, &access.0).await?;
        let groups = Groups::resolve(&mut self.session, settings, &Identities::new()).await?;
        let Some(groups) = groups else {
            return Ok(None);
        };
        groups.read(&mut self.session, settings).await?;
        let (count, members, depth) = groups.summary();
        let within = match depth {
            0 => String::new(),
            1 => ", with those within them".into(),
            levels => format!(", with those within them ({levels} levels)"),
        };
        let noun = |count, one, many| if count == 1 { one } else { many };
        let primary = match groups.primary() {
            0 => "",
            _ => ", and everyone who has its gidNumber as primary group",
        };
        let text = format!(
            "{count} {}{within}, {members} {}{primary}",
            noun(count, "group", "groups"),
            noun(members, "member", "members")
        );
        Ok(Some((text, members > 0 || !primary.is_empty())))
    }

    /// Describes the base.
    ///
    /// # Errors
    /// The base does not exist, or the account may not read it.
    pub async fn base(&mut self, settings: &DirectorySettings) -> Result<String, DirectoryError> {
        check_base(&mut self.session, &settings.base).await?;
        if !settings.base.is_empty() {
            return Ok(format!("{} is there", settings.base));
        }
        let can = self.read_capabilities(settings).await?;
        Ok(match can.naming_contexts.as_slice() {
            [] => "the whole server, which does not say what it holds".into(),
            contexts => format!("the whole server, which holds {}", contexts.join(", ")),
        })
    }

    /// Describes alias entries below the base (RFC 4512, 2.6) that point out of it; `None` if none was found. Reads only the
    /// first few.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn aliases(mut self, settings: &DirectorySettings) -> Result<Option<String>, DirectoryError> {
        const ALIASED: &str = "aliasedObjectName";
        let request = Request {
            base: &settings.base,
            scope: Scope::Subtree,
            filter: "(objectClass=alias)",
            attributes: vec![ALIASED.to_owned()],
            controls: Vec::new(),
        };
        let mut search = self.session.search(request).await?;
        let (mut count, mut first) = (0_u32, None);
        while count < ALIASES
            && let Item::Message(message) = self
                .session
                .next(&mut search, ALIASES_PATIENCE, "looking for aliases")
                .await?
        {
            if message.is_intermediate() {
                continue;
            }
            let entry = decode::entry(message).map_err(|error| self.session.malformed("an entry", &error))?;
            let target = entry.values(ALIASED).next().map(String::from_utf8_lossy);
            // An entry below the base is found without the alias.
            if target
                .as_ref()
                .is_some_and(|target| dn::is_within(target, &settings.base))
            {
                continue;
            }
            count += 1;
            let target = target.map_or_else(
                || "an entry that may not be read".into(),
                |target| one_line(&target),
            );
            first.get_or_insert_with(|| format!("{} to {target}", one_line(&entry.dn)));
        }
        let number = match count {
            1 => "1 alias entry".to_owned(),
            ALIASES => format!("{ALIASES} alias entries or more"),
            count => format!("{count} alias entries"),
        };
        Ok(first.map(|first| format!("{number} below the base, which are not followed, such as {first}")))
    }
}
