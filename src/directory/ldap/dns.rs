//! Finds the domain controllers of an Active Directory domain by DNS (MS-ADTS 6.3.2.3, RFC 2782).

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use tokio::net::lookup_host;

use crate::directory::DirectoryError;
use crate::directory::ldap::deadline::deadline;
use crate::directory::settings::Server;

/// The seed of the random order of equal controllers. All connections of the process use the same order, because controllers
/// replicate changes with a delay, and answers of several controllers may contradict each other.
static ORDER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The number of hosts that an error names.
const NAMED: usize = 5;

/// The servers of an address: the controllers of a domain in the order in which they are tried, or the server itself. Without
/// StartTLS, controllers are reached by ldaps://, so that TLS is always used.
///
/// DNS is not trusted: an attacker who forges its answers names a host of their own with a valid certificate. So a controller
/// must be in the domain or be named by the configuration, and its certificate is checked for that name.
///
/// # Errors
/// The domain has no controller, DNS names only hosts that are not trusted, or DNS does not answer.
pub(crate) async fn servers(server: &Server, starttls: bool) -> Result<Vec<Server>, DirectoryError> {
    let Server::Domain { name, dns, others } = server else {
        return Ok(vec![server.clone()]);
    };
    let shown = server.to_string();
    let failed = |cause: String| DirectoryError::Connect {
        server: shown.clone(),
        cause: format!(
            "no domain controller was found ({cause}); check that `url` has the DNS name of the domain, and name a DNS server that knows it, as in ad://10.0.0.53/example.org, if this machine's does not"
        ),
    };
    let query = format!("_ldap._tcp.dc._msdcs.{name}.");
    let resolver = resolver(*dns).map_err(&failed)?;
    let found = deadline(
        &shown,
        "looking for domain controllers",
        resolver.srv_lookup(query.as_str()),
    )
    .await?
    .map_err(|error| failed(error.to_string()))?;
    let records = found.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(record) => Some(record.clone()),
        _ => None,
    });
    let within = |host: &str| {
        host.strip_suffix(name.as_str())
            .is_some_and(|rest| rest.ends_with('.'))
    };
    let (trusted, foreign): (Vec<_>, Vec<_>) = ordered(records.collect(), |target| ORDER.hash_one(target))
        .into_iter()
        .partition(|(host, _)| within(host) || others.iter().any(|other| other.admits(host)));
    if !foreign.is_empty() {
        let named: Vec<&str> = foreign
            .iter()
            .take(NAMED)
            .map(|(host, _)| host.as_str())
            .collect();
        let foreign = named.join(", ");
        if trusted.is_empty() {
            return Err(DirectoryError::Settings(format!(
                "{shown}: DNS names {foreign} as domain controllers, which are not in {name}: they are sent no password, because DNS can be forged; if they are the right ones, name them in `controllers`"
            )));
        }
        tracing::debug!(
            domain = name,
            foreign,
            "DNS names domain controllers outside the domain: they are not used"
        );
    }
    let servers: Vec<Server> = trusted
        .into_iter()
        .map(|(host, port)| Server::Tcp {
            host,
            // The records have the port of ldap:// only.
            port: if starttls { port } else { 636 },
            tls: !starttls,
            dns: *dns,
        })
        .collect();
    if servers.is_empty() {
        return Err(failed(format!("{query} has no SRV record with a target")));
    }
    Ok(servers)
}

/// Hosts and ports by priority and, within one priority, at random by weight.
fn ordered(records: Vec<SRV>, jitter: impl Fn(&str) -> u64) -> Vec<(String, u16)> {
    let mut hosts: Vec<(u16, f64, String, u16)> = records
        .into_iter()
        // The target "." means that there is no such service.
        .filter(|record| !record.target.is_root())
        .map(|record| {
            let host = record.target.to_ascii().trim_end_matches('.').to_lowercase();
            // The chance that an exponentially distributed time is the shortest is proportional to its rate.
            let uniform = ((jitter(&host) >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
            let time = -uniform.ln() / (f64::from(record.weight) + 0.001);
            (record.priority, time, host, record.port)
        })
        .collect();
    hosts.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    hosts.into_iter().map(|(.., host, port)| (host, port)).collect()
}

/// The addresses of a host name.
pub(crate) async fn addresses(
    server: &str,
    host: &str,
    port: u16,
    dns: Option<SocketAddr>,
) -> Result<Vec<SocketAddr>, DirectoryError> {
    let failed = |cause: String| DirectoryError::Connect {
        server: server.to_owned(),
        cause: format!("the name {host} cannot be resolved ({cause})"),
    };
    match (dns, host.parse::<IpAddr>()) {
        (Some(_), Err(_)) => {
            let resolver = resolver(dns).map_err(&failed)?;
            let found = deadline(
                server,
                "resolving its name",
                resolver.lookup_ip(format!("{host}.")),
            )
            .await?
            .map_err(|error| failed(error.to_string()))?;
            Ok(found
                .iter()
                .map(|address| SocketAddr::new(address, port))
                .collect())
        }
        _ => {
            let found = deadline(server, "resolving its name", lookup_host((host, port))).await?;
            Ok(found.map_err(|error| failed(error.to_string()))?.collect())
        }
    }
}

/// A resolver for this DNS server, or for those of the system.
fn resolver(dns: Option<SocketAddr>) -> Result<TokioResolver, String> {
    let builder = match dns {
        None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::Name;

    fn record(priority: u16, weight: u16, target: &str) -> SRV {
        SRV::new(priority, weight, 389, Name::from_ascii(target).unwrap())
    }

    fn hosts(records: &[SRV], seed: u64) -> Vec<String> {
        // Any function whose values are spread over the whole range.
        let jitter = |host: &str| {
            let bytes = host.bytes().map(u64::from);
            let mixed = bytes.fold(seed, |hash, byte| {
                (hash ^ byte).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            });
            (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        let ordered = ordered(records.to_vec(), jitter);
        ordered.into_iter().map(|(host, _)| host).collect()
    }

    #[test]
    fn lower_priorities_come_first_and_no_target_is_no_server() {
        let records = [
            record(10, 100, "far.example.org."),
            record(0, 0, "DC1.example.org."),
            record(0, 0, "."),
        ];
        for seed in 0..50 {
            assert_eq!(hosts(&records, seed), ["dc1.example.org", "far.example.org"]);
        }
    }

    #[test]
    fn within_a_priority_the_weight_is_the_chance_to_come_first() {
        let records = [
            record(0, 90, "heavy.example.org."),
            record(0, 10, "light.example.org."),
        ];
        let first = |seed| hosts(&records, seed)[0].starts_with("heavy");
        let heavy = (0..1000).filter(|&seed| first(seed)).count();
        assert!((850..950).contains(&heavy), "{heavy}");
        assert_eq!(
            hosts(&records, 7),
            hosts(&records, 7),
            "the same jitter, the same order"
        );
    }
}
