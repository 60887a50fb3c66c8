//! The two faces of the store: an SQLite database and a PostgreSQL database. A test is written once and runs on both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ldap_usher::store::interface::Store;
use ldap_usher::store::{Location, Sqlite, open};
use proptest::prelude::ProptestConfig;
use proptest::strategy::Strategy;
use proptest::test_runner::{TestCaseError, TestRunner};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::postgres::Postgres;

tokio::task_local! {
    static FACE: Face;
}

/// Where the stores of a test are.
#[derive(Debug, Clone)]
pub(super) enum Face {
    Sqlite,
    /// The databases of this server, the first of which is there from the beginning.
    Postgres {
        server: Arc<Postgres>,
        used: Arc<AtomicUsize>,
    },
}

impl Face {
    pub(super) async fn postgres() -> Self {
        Self::Postgres {
            server: Arc::new(Postgres::start().await),
            used: Arc::default(),
        }
    }

    /// Runs a test on it.
    pub(super) async fn runs<T>(&self, test: impl Future<Output = T>) -> T {
        FACE.scope(self.clone(), test).await
    }

    /// Empties its databases, for the next case of a property.
    async fn reset(&self) {
        let Self::Postgres { server, used } = self else {
            return;
        };
        server.disconnect_all().await;
        server.sql("drop schema if exists ldap_usher cascade").await;
        for n in 1..used.swap(0, Ordering::Relaxed) {
            server.sql(&format!("drop database {}", name(n))).await;
        }
    }

    /// Whether a property holds. There are fewer cases on PostgreSQL, which is slower; `PROPTEST_CASES` replaces both numbers.
    pub(super) fn holds<S: Strategy>(
        &self,
        runtime: &Runtime,
        [sqlite, postgres]: [u32; 2],
        values: &S,
        property: impl AsyncFn(S::Value) -> Result<(), TestCaseError>,
    ) {
        let cases = match self {
            Self::Sqlite => sqlite,
            Self::Postgres { .. } => postgres,
        };
        let mut config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        if std::env::var_os("PROPTEST_CASES").is_none() {
            config.cases = cases;
        }
        let mut runner = TestRunner::new(config);
        let outcome = runner.run(values, |value| {
            runtime.block_on(async {
                self.reset().await;
                self.runs(property(value)).await
            })
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A runtime for a property, whose cases are not asynchronous.
pub(super) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// The name of a database.
fn name(n: usize) -> String {
    format!("usher_{n}")
}

/// A place for a store, which is empty at first.
pub(super) struct Place {
    location: Location,
    _folder: Option<TempDir>,
}

impl Place {
    /// A new place on the face of this test.
    pub(super) async fn new() -> Self {
        let (location, folder) = match FACE.get() {
            Face::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                (Location::File(folder.path().join("state.db")), Some(folder))
            }
            Face::Postgres { server, used } => {
                let url = match used.fetch_add(1, Ordering::Relaxed) {
                    0 => server.url(),
                    n => server.create_database(&name(n)).await,
                };
                (url.parse().unwrap(), None)
            }
        };
        Self {
            location,
            _folder: folder,
        }
    }

    /// Opens the store there.
    pub(super) async fn open(&self) -> Arc<dyn Store> {
        open(&self.location).await.unwrap()
    }
}

/// A new store on the face of this test, which is opened once.
pub(super) async fn new_store() -> Arc<dyn Store> {
    match FACE.get() {
        Face::Sqlite => Arc::new(Sqlite::in_memory().await.unwrap()),
        Face::Postgres { .. } => Place::new().await.open().await,
    }
}

/// Makes tests of asynchronous functions, one for each face, or for the named one. Properties are functions that take a face
/// and a runtime.
macro_rules! on_both {
    (
        $($both:ident),* $(,)?
        $(; only sqlite: $($sqlite:ident),*)?
        $(; only postgres: $($postgres:ident),*)?
        $(; properties: $($property:ident),*)?
        $(;)?
    ) => {
        mod sqlite {
            use crate::store::faces;

            $(#[tokio::test]
            async fn $both() {
                faces::Face::Sqlite.runs(super::$both()).await;
            })*
            $($(#[tokio::test]
            async fn $sqlite() {
                faces::Face::Sqlite.runs(super::$sqlite()).await;
            })*)?
            $($(#[test]
            fn $property() {
                super::$property(&faces::Face::Sqlite, &faces::runtime());
            })*)?
        }

        mod postgres {
            use crate::store::faces;

            $(#[tokio::test]
            async fn $both() {
                faces::Face::postgres().await.runs(super::$both()).await;
            })*
            $($(#[tokio::test]
            async fn $postgres() {
                faces::Face::postgres().await.runs(super::$postgres()).await;
            })*)?
            $($(#[test]
            fn $property() {
                let runtime = faces::runtime();
                let face = runtime.block_on(faces::Face::postgres());
                super::$property(&face, &runtime);
            })*)?
        }
    };
}

pub(super) use on_both;
