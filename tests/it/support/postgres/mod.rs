//! A real PostgreSQL server for each test: run directly on a copy of a template, without Debian's clusters; temporary
//! directory, free loopback port, stopped and removed on drop.
//!
//! The database is `usher`, owned by the role `usher`, who connects over TCP with a password. The administrator connects over
//! the socket in the temporary directory. PostgreSQL refuses to run as root: a test that does starts it as Debian's user
//! `postgres`.

mod bouncer;
mod options;
mod processes;
mod template;

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::certificates;
use super::daemon::Daemon;
use super::slapd::free_port;
use options::{PASSWORD, ROLE};
use template::{ADMIN, Account};

#[allow(unused_imports, reason = "each test takes what it needs")]
pub use bouncer::PgBouncer;
pub use options::Builder;

/// A running (or stopped) PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    daemon: Daemon,
    account: Account,
    port: u16,
    options: Builder,
    dir: TempDir,
}

/// A connection of the administrator. It ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    client: Client,
    _connection: JoinSet<Result<(), Error>>,
}

impl Deref for Admin {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Builder {
    /// Starts it. Returns when it answers.
    ///
    /// # Panics
    /// If the server does not start or is missing, with its message or with what to install.
    pub async fn start(self) -> Postgres {
        self.try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_start(self) -> Result<Postgres, String> {
        let text = |error: std::io::Error| error.to_string();
        let account = Account::for_servers()?;
        let dir = tempfile::Builder::new().prefix("pg-").tempdir().map_err(text)?;
        template::copy_to(&dir.path().join("data"), &account)?;
        if self.tls {
            certificates::write(dir.path(), ["localhost", "127.0.0.1", "::1"].map(str::to_owned));
            // The server refuses a key that belongs to somebody else.
            account.give(&dir.path().join("server.key"))?;
        }
        account.give(dir.path())?;
        let mut server = Postgres {
            daemon: Daemon::new("postgres", dir.path().join("postgres.log")),
            account,
            port: 0,
            options: self,
            dir,
        };
        // Another process may take the port before the server binds it.
        for _ in 0..20 {
            server.port = free_port();
            match server.launch().await {
                Err(log) if log.contains("could not bind") => {}
                Err(log) => return Err(log),
                Ok(()) => {
                    server.set_password().await;
                    return Ok(server);
                }
            }
        }
        Err("postgres found no free port in twenty attempts".into())
    }
}

impl Postgres {
    /// What kind of server to start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts one without options.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// `postgres://usher:PASSWORD@127.0.0.1:PORT/usher`.
    pub fn url(&self) -> String {
        self.url_of(ROLE)
    }

    /// The same for another database; see [`Postgres::create_database`].
    pub fn url_of(&self, database: &str) -> String {
        url(&self.options, self.port, database)
    }

    /// The port of [`Postgres::url`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of the role `usher`.
    pub fn password(&self) -> &str {
        &self.options.password
    }

    /// The CA that signed the server's certificate, in PEM; needs [`Builder::tls`].
    pub fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Stops it as an administrator does who does not wait for the clients (SIGINT). Returns when all its processes are gone.
    pub async fn stop(&mut self) {
        self.daemon.end("INT").await;
    }

    /// Kills all its processes, as a crash of the machine does (SIGKILL). Returns when they are gone.
    pub async fn kill(&mut self) {
        // The frozen parent starts no process while the others are counted.
        self.daemon.signal("STOP");
        let children = processes::children(self.daemon.pid());
        processes::signal("KILL", &children);
        self.daemon.end("KILL").await;
        processes::gone(&children).await;
    }

    /// Starts it again on the same data and port, after stopping it if it still runs. Returns when it answers.
    pub async fn restart(&mut self) {
        if self.daemon.runs() {
            self.stop().await;
        }
        self.launch().await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts it again on the same data and port with other options (TLS does not change).
    pub async fn restart_with(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.options = change(self.options.clone());
        self.restart().await;
        self.set_password().await;
    }

    /// Starts it again with this certificate and its key, in PEM; needs [`Builder::tls`].
    pub async fn present(&mut self, certificate: &str, key: &str) {
        // The files keep the owner and the mode that the server wants.
        fs::write(self.file("server.pem"), certificate).unwrap();
        fs::write(self.file("server.key"), key).unwrap();
        self.restart().await;
    }

    /// Freezes all its processes (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        let parent = self.daemon.pid();
        self.daemon.signal("STOP");
        processes::frozen(&[parent]);
        let children = processes::children(parent);
        processes::signal("STOP", &children);
        processes::frozen(&children);
    }

    /// Thaws them (SIGCONT).
    pub fn resume(&self) {
        processes::signal("CONT", &processes::children(self.daemon.pid()));
        self.daemon.signal("CONT");
    }

    /// A connection of the administrator to the database `usher`.
    pub async fn admin(&self) -> Admin {
        self.admin_of(ROLE).await
    }

    /// A connection of the administrator to this database.
    pub async fn admin_of(&self, database: &str) -> Admin {
        self.connect(database).await.unwrap()
    }

    /// Executes SQL as the administrator, each statement for itself unless the SQL says otherwise. Returns the rows, with
    /// `|` between the columns.
    pub async fn sql(&self, sql: &str) -> Vec<String> {
        let messages = self.admin().await.simple_query(sql).await;
        let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .map(|row| {
                let columns = (0..row.len()).map(|column| row.get(column).unwrap_or_default());
                columns.collect::<Vec<_>>().join("|")
            })
            .collect()
    }

    /// Creates an empty database that belongs to the role `usher`. Returns its URL.
    pub async fn create_database(&self, name: &str) -> String {
        self.sql(&format!("create database {name} owner {ROLE} template template1"))
            .await;
        self.url_of(name)
    }

    /// Ends all connections of the role `usher`, as an administrator or a failover does.
    pub async fn disconnect_all(&self) {
        self.sql(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{ROLE}'"
        ))
        .await;
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn set_password(&self) {
        if self.options.password != PASSWORD {
            let password = self.options.password.replace('\'', "''");
            self.sql(&format!("alter role {ROLE} password '{password}'"))
                .await;
        }
    }

    async fn connect(&self, database: &str) -> Result<Admin, Error> {
        connect(self.dir.path(), self.port, database).await
    }

    async fn launch(&mut self) -> Result<(), String> {
        let data = self.file("data");
        for (name, text) in self.options.files(self.dir.path(), self.port) {
            fs::write(data.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        let mut command = self.account.command(&template::program("postgres")?);
        command.arg("-D").arg(&data).current_dir(&data);
        let (dir, port) = (self.dir.path(), self.port);
        let ready = || async move { connect(dir, port, ROLE).await.is_ok() };
        self.daemon.launch_until(&mut command, ready).await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.daemon.runs() {
            self.resume();
            // It ends its other processes, which use the directory.
            self.daemon.end_now("QUIT");
        }
    }
}

/// Connects as the administrator over the socket in our directory, which belongs to our process; the port might belong to
/// another one.
async fn connect(dir: &Path, port: u16, database: &str) -> Result<Admin, Error> {
    let mut config = Config::new();
    config.host_path(dir).port(port).user(ADMIN).dbname(database);
    let (client, connection) = config.connect(NoTls).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    Ok(Admin {
        client,
        _connection: tasks,
    })
}

fn url(options: &Builder, port: u16, database: &str) -> String {
    let password = utf8_percent_encode(&options.password, NON_ALPHANUMERIC);
    format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{database}")
}

/// Runs this command to its end.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        .ok_or_else(|| format!("{command:?} failed:\n{words}"))
}
