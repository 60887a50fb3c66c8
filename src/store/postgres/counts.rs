//! Stored counts of members and actions, as [`crate::store::counts`] describes them.

use super::error::Failure;
use super::sql::{Db, values};
use crate::store::counts::Counts;

/// Adds changes to what is stored.
pub(super) async fn save(db: &Db, counts: &Counts) -> Result<(), Failure> {
    let (mut directories, mut standings, mut by) = (Vec::new(), Vec::new(), Vec::new());
    for (directory, standing, change) in counts.changed_members() {
        directories.push(directory);
        standings.push(standing);
        by.push(change);
    }
    if !by.is_empty() {
        db.execute(
            "with n as (select * from unnest($1, $2, $3) n(directory, standing, by)),
                  known as (update ldap_usher.member_count c set members = greatest(c.members + n.by, 0) from n
                            where (c.directory, c.standing) = (n.directory, n.standing)
                            returning c.directory, c.standing)
             insert into ldap_usher.member_count (directory, standing, members)
             select directory, standing, greatest(by, 0) from n
             where (directory, standing) not in (select directory, standing from known)",
            values![directories, standings, by],
        )
        .await?;
    }
    let (mut kinds, mut states, mut compared, mut by) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (kind, state, stage, change) in counts.changed_actions() {
        kinds.push(kind);
        states.push(state);
        compared.push(stage);
        by.push(change);
    }
    if !by.is_empty() {
        db.execute(
            "with n as (select * from unnest($1, $2, $3, $4) n(kind, state, compared, by)),
                  known as (update ldap_usher.action_count c set actions = greatest(c.actions + n.by, 0) from n
                            where (c.kind, c.state, c.compared) = (n.kind, n.state, n.compared)
                            returning c.kind, c.state, c.compared)
             insert into ldap_usher.action_count (kind, state, compared, actions)
             select kind, state, compared, greatest(by, 0) from n
             where (kind, state, compared) not in (select kind, state, compared from known)",
            values![kinds, states, compared, by],
        )
        .await?;
    }
    Ok(())
}

/// Counts the rows, and corrects the stored counts. Returns whether they were right.
pub(super) async fn correct(db: &Db) -> Result<bool, Failure> {
    let members =
        "select directory, standing, count(*) as members from ldap_usher.member group by directory, standing";
    let actions = "select kind, state, compared, count(*) as actions from ldap_usher.action group by kind, state, compared";
    let sql = format!(
        "select exists (({members}) except select directory, standing, members from ldap_usher.member_count)
             or exists (select directory, standing, members from ldap_usher.member_count where members > 0 except ({members}))
             or exists (({actions}) except select kind, state, compared, actions from ldap_usher.action_count)
             or exists (select kind, state, compared, actions from ldap_usher.action_count where actions > 0 except ({actions}))"
    );
    let are_wrong: bool = db.one(&sql, &[]).await?.try_get(0)?;
    if are_wrong {
        db.script(&format!(
            "delete from ldap_usher.member_count; insert into ldap_usher.member_count {members};
             delete from ldap_usher.action_count; insert into ldap_usher.action_count {actions}"
        ))
        .await?;
    }
    Ok(!are_wrong)
}
