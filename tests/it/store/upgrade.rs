//! A state file of version 0.1.0 opens and loses nothing.

use ldap_usher::model::Release;
use ldap_usher::model::{ActionState, Cursor, WorkerId};
use ldap_usher::store::interface::*;
use ldap_usher::store::{Sqlite, Which};

use super::file::sql;
use super::{OWNER, at, email};
use crate::support::queue::Queue as _;

/// A state file of version 0.1.0 after a listing, some invitations, a kill, and a person who left.
const STATE: &str = "
    create table _sqlx_migrations (
        version bigint primary key, description text not null, installed_on timestamp not null default current_timestamp,
        success boolean not null, checksum blob not null, execution_time bigint not null);
    insert into _sqlx_migrations values (1, 'ledger', '2026-11-20 10:00:00', 1, x'00', 1000);
    insert into directory (id, name, settings, cursor, cursor_stored, generation, listed, stream)
    values (1, 'main', 'settings', x'637376', 5000, 3, 4000, 'syncrepl');
    insert into member (id, directory, entry_id, dn, address, standing, reason, seen) values
        (1, 1, x'01010101010101010101010101010101', 'uid=done', 'done@example.org', 'member', null, 3),
        (2, 1, x'02020202020202020202020202020202', 'uid=queued', 'queued@example.org', 'member', null, 3),
        (3, 1, x'03030303030303030303030303030303', 'uid=held', 'held@example.org', 'member', null, 3),
        (4, 1, x'04040404040404040404040404040404', 'uid=refused', 'refused@example.org', 'member', null, 3),
        (5, 1, x'05050505050505050505050505050505', 'uid=claimed', 'claimed@example.org', 'member', null, 3),
        (6, 1, x'06060606060606060606060606060606', 'uid=doubt', 'doubt@example.org', 'member', null, 3),
        (7, 1, x'07070707070707070707070707070707', 'uid=left', 'left@example.org', 'left', null, 2),
        (8, 1, x'08080808080808080808080808080808', 'uid=waiting', null, 'without-address', 'has no mail', 3),
        (9, 1, x'09090909090909090909090909090909', 'uid=staged', 'staged@example.org', 'member', null, 3);
    insert into task (address, member, state, due, lease_until, in_doubt, checked, attempts, arrived, since, reason, outcome)
    values
        ('done@example.org', 1, 'done', 1000, null, 0, 1, 0, 1000, 1500, null, 'invited'),
        ('queued@example.org', 2, 'queued', 2000, null, 0, 0, 2, 1000, 1000, 'greylisted', null),
        ('held@example.org', 3, 'held', 1000, null, 0, 1, 0, 1000, 1000, null, null),
        ('refused@example.org', 4, 'quarantined', 1000, null, 0, 1, 1, 1000, 1500, 'no such user', null),
        ('claimed@example.org', 5, 'queued', 1000, 601000, 0, 0, 0, 1000, 1000, null, null),
        ('doubt@example.org', 6, 'queued', 1000, null, 1, 0, 1, 1000, 1000, 'no answer', null),
        ('left@example.org', 7, 'cancelled', 1000, null, 0, 0, 0, 1000, 1500, null, null),
        ('staged@example.org', 9, 'staged', 1000, null, 0, 0, 0, 1000, 1000, null, null);
    insert into note values ('vaultwarden-session', x'0102');";

#[tokio::test]
async fn a_state_file_of_version_0_1_opens_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let schema = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/store/migrations/sqlite/0001_store.sql"
    );
    sql(&path, &std::fs::read_to_string(schema).unwrap());
    sql(&path, STATE);

    let error = Sqlite::open_read_only(&path).await.unwrap_err().to_string();
    assert!(
        error.contains("start the service once, which brings it up to date"),
        "{error}"
    );

    let store = Sqlite::open(&path).await.unwrap();
    let row = store.register("main", "scope", "settings").await.unwrap();
    assert_eq!((row.id, row.cursor), (1, Some(Cursor(b"csv".to_vec()))));
    let report = store.report().await.unwrap();
    assert_eq!((report.members, report.without_address), (7, 1));
    let counts = ActionState::ALL.map(|state| report.count(state));
    // People of a listing that did not end wait for the comparison with the accounts.
    assert_eq!(counts, [3, 2, 1, 1, 1]);
    assert_eq!(store.unchecked().await.unwrap().held, 1);
    assert_eq!(report.quarantined[0].reason, "no such user");
    assert_eq!(
        store.get_note("vaultwarden-session").await.unwrap(),
        Some(vec![1, 2])
    );

    // Attempts in progress when the service was killed are in doubt, like those that already were.
    store.take_over(WorkerId(OWNER), at(10)).await.unwrap();
    let mut claimed = store.claim(OWNER, 10, at(10)).await.unwrap();
    claimed.sort_by_key(|task| task.id);
    let summary: Vec<_> = claimed
        .iter()
        .map(|task| (task.address.as_str(), task.in_doubt.is_some(), task.attempts))
        .collect();
    assert_eq!(
        summary,
        [
            ("queued@example.org", false, 2),
            ("claimed@example.org", true, 0),
            ("doubt@example.org", true, 1)
        ]
    );
    let held = [email("held")];
    let released = store
        .release(&[ActionState::Held], Which::To(&held), Release::Approved, at(11))
        .await
        .unwrap();
    assert_eq!(released, ["held@example.org"]);
    drop(store);

    // A second start changes nothing, and version 0.1 would refuse the file as newer.
    drop(Sqlite::open(&path).await.unwrap());
    let newest: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("select max(version) from _sqlx_migrations", [], |row| row.get(0))
        .unwrap();
    assert_eq!(newest, 5);
}

#[tokio::test]
async fn a_state_file_of_every_earlier_schema_opens() {
    let migrations = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/migrations/sqlite");
    let mut files: Vec<_> = std::fs::read_dir(migrations)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    for version in 1..=files.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        for file in &files[..version] {
            sql(&path, &std::fs::read_to_string(file).unwrap());
        }
        sql(
            &path,
            &format!(
                "insert into directory (name, settings) values ('main', 'settings'); pragma user_version = {version}"
            ),
        );
        let store = Sqlite::open(&path).await.unwrap();
        let row = store.register("main", "scope", "settings").await.unwrap();
        assert_eq!(row.id, 1, "version {version}");
        assert!(store.check_counts().await.unwrap(), "version {version}");
    }
}
