//! `healthcheck`: asks the running service how it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

use crate::config::Service;
use crate::http_client;
use crate::store::{self, Location};

/// How a running service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it is as it should be.
    pub healthy: bool,
    /// What was asked: a URL, or the state.
    pub asked: String,
    /// What it says, or why it says nothing and what to do: one line for each thing.
    pub detail: Vec<String>,
}

/// Asks the service within `deadline`: its endpoint `/healthz`, or `/readyz` if `ready` is set. A service without endpoints is
/// healthy if it uses the state.
pub async fn healthcheck(service: &Service, ready: bool, deadline: Duration) -> Health {
    // The system chose port 0, and nobody else knows which one it took.
    match service.listen.filter(|listen| listen.port() != 0) {
        Some(address) => ask(local(address), if ready { "readyz" } else { "healthz" }, deadline).await,
        None => {
            let asked = by_state(&service.state, ready);
            timeout(deadline, asked).await.unwrap_or_else(|_| Health {
                healthy: false,
                asked: format!("the state {}", service.state),
                detail: vec![format!(
                    "no answer within {}; does its disk or its database work?",
                    humantime::format_duration(deadline)
                )],
            })
        }
    }
}

async fn ask(address: SocketAddr, endpoint: &str, deadline: Duration) -> Health {
    let asked = format!("http://{address}/{endpoint}");
    match http_client::ask_locally(&asked, deadline).await {
        Ok((status, text)) => Health {
            healthy: status == 200,
            detail: match text.trim_end() {
                "" => vec![format!("status {status}")],
                text => text.lines().map(str::to_owned).collect(),
            },
            asked,
        },
        Err(cause) => Health {
            healthy: false,
            detail: vec![format!(
                "{cause}; does the service run, with the same `listen` in [http]?"
            )],
            asked,
        },
    }
}

async fn by_state(state: &Location, ready: bool) -> Health {
    let asked = format!("the state {state}");
    let health = |healthy, detail: String| Health {
        healthy,
        asked: asked.clone(),
        detail: vec![detail],
    };
    if ready {
        return health(
            false,
            "only the endpoints tell whether the service is ready; set `listen` in [http] to an address with a port".into(),
        );
    }
    match is_used(state).await {
        Ok(true) => health(true, "the service runs".into()),
        Ok(false) => health(
            false,
            "no service uses it; start `ldap-usher run` with this configuration".into(),
        ),
        Err(error) => health(false, error.to_string()),
    }
}

/// Whether the service with this configuration uses the state. In a database there may be others.
async fn is_used(state: &Location) -> Result<bool, store::StoreError> {
    let Location::Postgres(database) = state else {
        return store::is_served(state).await;
    };
    let report = store::open_read_only(state).await?.report().await?;
    Ok(report
        .instances
        .iter()
        .any(|instance| instance.name == database.instance))
}

/// Where a service that listens on this address can be reached from the same machine.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, address.port()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_listens_everywhere_is_asked_at_loopback() {
        for (address, asked) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:80", "[::1]:80"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            assert_eq!(local(address.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
