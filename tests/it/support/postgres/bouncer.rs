//! A real PgBouncer in front of a PostgreSQL server: transactions of one client go to changing connections.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::options::ROLE;
use super::template::Account;
use super::{Daemon, Postgres, free_port, url};

const BINARY: &str = "/usr/sbin/pgbouncer";

/// A running PgBouncer that pools transactions.
#[derive(Debug)]
pub struct PgBouncer {
    daemon: Daemon,
    url: String,
    port: u16,
    _dir: TempDir,
}

impl PgBouncer {
    /// Starts one that uses up to three connections to this server. Returns when it answers.
    ///
    /// # Panics
    /// If it does not start or is missing, with its message or with what to install.
    pub async fn start(postgres: &Postgres) -> Self {
        Self::try_start(postgres)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_start(postgres: &Postgres) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        if !Path::new(BINARY).exists() {
            return Err(format!("{BINARY} is missing; run: apt-get install pgbouncer"));
        }
        let account = Account::for_servers()?;
        let dir = tempfile::Builder::new().prefix("pgb-").tempdir().map_err(text)?;
        account.give(dir.path())?;
        let (folder, conf) = (dir.path().display().to_string(), dir.path().join("pgbouncer.ini"));
        let password = postgres.password().replace('"', "\"\"");
        fs::write(
            dir.path().join("users.txt"),
            format!("\"{ROLE}\" \"{password}\"\n"),
        )
        .map_err(text)?;
        let mut bouncer = Self {
            daemon: Daemon::new("pgbouncer", dir.path().join("pgbouncer.log")),
            url: String::new(),
            port: 0,
            _dir: dir,
        };
        // Another process may take the port before it binds it.
        for _ in 0..20 {
            bouncer.port = free_port();
            bouncer.url = url(&postgres.options, bouncer.port, ROLE);
            let (port, server) = (bouncer.port, postgres.port());
            let ini = format!(
                "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir = {folder}\nauth_type = scram-sha-256\n\
                 auth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = 3\n\
                 server_round_robin = 1\nmax_client_conn = 200\n"
            );
            fs::write(&conf, ini).map_err(text)?;
            let mut command = account.command(Path::new(BINARY));
            command.arg(&conf);
            let ready = || async move { TcpStream::connect(("127.0.0.1", port)).await.is_ok() };
            match bouncer.daemon.launch_until(&mut command, ready).await {
                Err(log) if log.contains("in use") => {}
                outcome => return outcome.map(|()| bouncer),
            }
        }
        Err("pgbouncer found no free port in twenty attempts".into())
    }

    /// `postgres://usher:PASSWORD@127.0.0.1:PORT/usher`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The port of [`PgBouncer::url`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}
