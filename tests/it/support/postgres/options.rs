//! The options of a PostgreSQL server, and the files that are generated from them.

use std::fmt::Write as _;
use std::path::Path;

/// The role of the service, and its database.
pub(super) const ROLE: &str = "usher";
/// Its password, unless the test sets another.
pub(super) const PASSWORD: &str = "postgres-secret";

/// What kind of server to start; by default one without TLS.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) tls: bool,
    pub(super) password: String,
    lines: Vec<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tls: false,
            password: PASSWORD.into(),
            lines: Vec::new(),
        }
    }
}

impl Builder {
    /// Accepts TLS only, with a certificate for `localhost`, `127.0.0.1` and `::1`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The password of the role `usher`.
    pub fn password(mut self, password: &str) -> Self {
        self.password = password.into();
        self
    }

    /// A line for `postgresql.conf`, which replaces an earlier line with the same setting.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.into());
        self
    }

    /// The files in the data directory, each by its name and its text.
    pub(super) fn files(&self, dir: &Path, port: u16) -> [(&'static str, String); 2] {
        let dir = dir.display();
        let mut conf = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{dir}'\n{SETTINGS}"
        );
        if self.tls {
            write!(
                conf,
                "ssl = on\nssl_cert_file = '{dir}/server.pem'\nssl_key_file = '{dir}/server.key'\n"
            )
            .unwrap();
        }
        for line in &self.lines {
            writeln!(conf, "{line}").unwrap();
        }
        let host = if self.tls { "hostssl" } else { "host" };
        let hba = format!("local all all trust\n{host} all {ROLE} 127.0.0.1/32 scram-sha-256\n");
        [("postgresql.conf", conf), ("pg_hba.conf", hba)]
    }
}

/// A crash of the server keeps everything without `fsync`; only a crash of the machine does not.
const SETTINGS: &str = "\
max_connections = 50
superuser_reserved_connections = 5
shared_buffers = 16MB
fsync = off
full_page_writes = off
synchronous_commit = off
wal_level = minimal
max_wal_senders = 0
min_wal_size = 2MB
max_wal_size = 64MB
wal_buffers = 256kB
max_worker_processes = 0
max_parallel_workers = 0
max_logical_replication_workers = 0
autovacuum = off
jit = off
dynamic_shared_memory_type = mmap
logging_collector = off
log_min_messages = warning
log_line_prefix = '%m %a '
timezone = 'UTC'
log_timezone = 'UTC'
";
