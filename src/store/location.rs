//! The place of a store, and the ways to open it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::{Sqlite, Store, StoreError};

/// Where a store is: the path of an SQLite file, or its `sqlite:` URL (`sqlite:state.db`, `sqlite:///var/lib/state.db`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(PathBuf);

impl Location {
    /// Whether the file exists.
    pub fn exists(&self) -> bool {
        self.0.exists()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl FromStr for Location {
    type Err = String;

    /// # Errors
    /// The text names no file, or another kind of store.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = match text.strip_prefix("sqlite:") {
            Some(path) => path.strip_prefix("//").unwrap_or(path),
            None => match text.split_once("://") {
                Some((scheme, _)) => {
                    return Err(format!(
                        "is a URL of the scheme \"{scheme}\", but the state is kept in an SQLite file; write its path, as in \
                         \"/var/lib/ldap-usher/state.db\""
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
        Ok(Self(path.into()))
    }
}

/// Opens a store as its only service. A missing store is created, an older one is brought up to date.
///
/// # Errors
/// [`StoreError::InUse`] if another service has it open, otherwise [`StoreError::Open`].
pub async fn open(at: &Location) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Sqlite::open(&at.0).await?))
}

/// Opens a store for a few small writes, even while a service uses it. Never creates it or changes its schema.
///
/// # Errors
/// [`StoreError::Open`], [`StoreError::Older`].
pub async fn open_shared(at: &Location) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Sqlite::open_shared(&at.0).await?))
}

/// Opens a store for reading, even while a service uses it. Never creates or changes it; the methods that write fail.
///
/// # Errors
/// [`StoreError::Open`], [`StoreError::Older`].
pub async fn open_read_only(at: &Location) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Sqlite::open_read_only(&at.0).await?))
}

/// Opens a copy of a store for a dry run, or an empty store if there is none. It lives as long as this value.
///
/// # Errors
/// [`StoreError::Open`] if the store cannot be read or there is no space for the copy.
pub async fn dry_run(at: &Location) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Sqlite::dry_run(&at.0).await?))
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
/// [`StoreError::Open`] if its lock cannot be read.
pub fn is_served(at: &Location) -> Result<bool, StoreError> {
    Sqlite::is_served(&at.0)
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
            assert_eq!(text.parse(), Ok(Location(path.into())), "{text}");
        }
    }

    #[test]
    fn text_that_names_no_file_is_refused_with_the_remedy() {
        for (text, part) in [
            ("", "names no file"),
            ("sqlite:", "names no file"),
            ("sqlite://", "names no file"),
            ("postgres://localhost/usher", "scheme \"postgres\""),
            ("sqlite:state.db?mode=rwc", "parameters"),
        ] {
            let refused = text.parse::<Location>().unwrap_err();
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
