//! The place of a store, and the ways to open it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::postgres::Access;
use super::{Database, Postgres, PostgresSettings, Sqlite, Store, StoreError};

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An SQLite file: its path, or its `sqlite:` URL (`sqlite:state.db`, `sqlite:///var/lib/state.db`).
    File(PathBuf),
    /// A PostgreSQL database: its `postgres:` URL, and how to connect.
    Postgres(Box<PostgresSettings>),
}

impl Location {
    /// Whether a store exists there, as far as can be told without connecting: a database is taken to exist.
    pub fn exists(&self) -> bool {
        match self {
            Self::File(path) => path.exists(),
            Self::Postgres(_) => true,
        }
    }

    /// The path, if this is a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for Location {
    /// The path, or the URL without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(server) => server.fmt(f),
        }
    }
}

impl FromStr for Location {
    type Err = String;

    /// # Errors
    /// The text names no file, or another kind of store. The error quotes no password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(Box::new(text.parse()?)));
        }
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            return Err(
                "is not a URL of PostgreSQL; write it as in \"postgres://user@host/database\"".into(),
            );
        }
        let path = match text.strip_prefix("sqlite:") {
            Some(path) => path.strip_prefix("//").unwrap_or(path),
            None => match text.split_once("://") {
                Some((scheme, _)) => {
                    return Err(format!(
                        "is a URL of the scheme \"{scheme}\", but the state is kept in an SQLite file or in PostgreSQL; write a \
                         path, as in \"/var/lib/ldap-usher/state.db\", or a URL, as in \"postgres://user@host/database\""
                    ));
                }
                None => text,
            },
        };
        if path.is_empty() {
            return Err("names no file".into());
        }
        if path.contains('?') && path != text {
            return Err(
                "has parameters, which are not supported; write the URL without \"?\" and what follows"
                    .into(),
            );
        }
        Ok(Self::File(path.into()))
    }
}

/// Opens a store as a service. A missing store is created, an older one is brought up to date.
///
/// # Errors
/// [`StoreError::InUse`] if it is a file that another service has open, otherwise [`StoreError::Open`].
pub async fn open(at: &Location) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match at {
        Location::File(path) => Arc::new(Sqlite::open(path).await?),
        Location::Postgres(server) => Arc::new(Postgres::open(server, Access::Service).await?),
    })
}

/// Opens a store for a few small writes, even while a service uses it. Never creates it or changes its schema.
///
/// # Errors
/// [`StoreError::Open`], [`StoreError::Older`].
pub async fn open_shared(at: &Location) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match at {
        Location::File(path) => Arc::new(Sqlite::open_shared(path).await?),
        Location::Postgres(server) => Arc::new(Postgres::open(server, Access::Write).await?),
    })
}

/// Opens a store for reading, even while a service uses it. Never creates or changes it; the methods that write fail.
///
/// # Errors
/// [`StoreError::Open`], [`StoreError::Older`].
pub async fn open_read_only(at: &Location) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match at {
        Location::File(path) => Arc::new(Sqlite::open_read_only(path).await?),
        Location::Postgres(server) => Arc::new(Postgres::open(server, Access::Read).await?),
    })
}

/// Opens a copy of a store for a dry run, or an empty store if there is none. It lives as long as this value.
///
/// # Errors
/// [`StoreError::Open`] if the store cannot be read or there is no space for the copy.
pub async fn dry_run(at: &Location) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match at {
        Location::File(path) => Arc::new(Sqlite::dry_run(path).await?),
        Location::Postgres(server) => Arc::new(Postgres::dry_run(server).await?),
    })
}

/// Describes a database, whether or not there is a state in it.
///
/// # Errors
/// [`StoreError::Open`] if it cannot be reached.
pub async fn describe(server: &PostgresSettings) -> Result<Database, StoreError> {
    Postgres::describe(server).await
}

/// Writes a backup of a store in a file, even while a service uses it, into a new file. Returns its size in bytes.
///
/// # Errors
/// [`StoreError::Open`] if it is in PostgreSQL, which has tools of its own, or cannot be read, and [`StoreError::Backup`].
pub async fn backup(at: &Location, to: &Path) -> Result<u64, StoreError> {
    match at {
        Location::File(path) => Sqlite::backup(path, to).await,
        Location::Postgres(server) => Err(StoreError::Backup {
            file: to.display().to_string(),
            cause: format!(
                "the state is in PostgreSQL; use its own tool: pg_dump --schema=ldap_usher --file={} {server}",
                to.display()
            ),
        }),
    }
}

/// Creates a store in memory. It lives as long as this value.
///
/// # Errors
/// [`StoreError::Open`] if there is not enough memory.
pub async fn in_memory() -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Sqlite::in_memory().await?))
}

/// Whether a service has the store open.
///
/// # Errors
/// [`StoreError::Open`] if its lock or its database cannot be read.
pub async fn is_served(at: &Location) -> Result<bool, StoreError> {
    match at {
        Location::File(path) => Sqlite::is_served(path),
        Location::Postgres(server) => Postgres::is_served(server).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_url_name_the_same_file() {
        for (text, path) in [
            ("/var/lib/state.db", "/var/lib/state.db"),
            ("sqlite:/var/lib/state.db", "/var/lib/state.db"),
            ("sqlite:///var/lib/state.db", "/var/lib/state.db"),
            ("sqlite:state.db", "state.db"),
            ("sqlite://state.db", "state.db"),
            ("odd:name?.db", "odd:name?.db"),
        ] {
            assert_eq!(text.parse(), Ok(Location::File(path.into())), "{text}");
        }
    }

    #[test]
    fn text_that_names_no_file_is_refused_with_the_remedy() {
        for (text, part) in [
            ("", "names no file"),
            ("sqlite:", "names no file"),
            ("sqlite://", "names no file"),
            ("mysql://localhost/usher", "scheme \"mysql\""),
            ("sqlite:state.db?mode=rwc", "parameters"),
            ("postgres:usher:pa55w@db/usher", "postgres://user@host/database"),
            (
                "postgresql:/usher:pa55w@db/usher",
                "postgres://user@host/database",
            ),
        ] {
            let refused = text.parse::<Location>().unwrap_err();
            assert!(
                refused.contains(part) && !refused.contains("pa55w"),
                "{text}: {refused}"
            );
        }
    }
}
