//! The calls of the client that change one account.

use std::time::Duration;

use ldap_usher::model::{Disposition, Outcome};
use ldap_usher::vaultwarden::{
    AccountChange, Admin, Changed, ClientSettings, Vaultwarden, VaultwardenError as Error,
};

use crate::support::stand_in::{Fault, Moment, On, Setup, StandIn};
use crate::vaultwarden::{address, client_of, settings};

const ANN: &str = "ann@example.org";
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
const FOREVER: usize = usize::MAX;

fn client(stand_in: &StandIn) -> Vaultwarden {
    client_of(&settings(&stand_in.url()))
}

/// One with an account of Ann, who has registered.
fn with_ann(minor: u32) -> (StandIn, Vaultwarden, String) {
    let stand_in = StandIn::with(Setup {
        version: (1, minor),
        ..Setup::default()
    });
    stand_in.preload([ANN, "bob@example.org"]);
    let (client, id) = (client(&stand_in), stand_in.id(ANN).unwrap());
    (stand_in, client, id)
}

#[tokio::test]
async fn an_invitation_names_the_account_that_it_created_where_the_version_does() {
    for minor in [20, 22, 30, 37] {
        let stand_in = StandIn::with(Setup {
            version: (1, minor),
            ..Setup::default()
        });
        let client = client(&stand_in);
        let invitation = client.invite(&address(ANN)).await.unwrap();
        assert_eq!(invitation.outcome, Outcome::Invited);
        let named = stand_in.id(ANN).filter(|_| minor >= 22);
        assert_eq!(invitation.account, named, "1.{minor}");
        let again = client.invite(&address(ANN)).await.unwrap();
        assert_eq!((again.outcome, again.account), (Outcome::HadAccount, None));
    }
}

#[tokio::test]
async fn an_invitation_that_collides_with_another_names_its_account() {
    let stand_in = StandIn::start();
    stand_in.preload([ANN]);
    stand_in.fail(On::Invite, None, 1, Fault::Error(500, "Error saving user"));
    let invitation = client(&stand_in).invite(&address(ANN)).await.unwrap();
    assert_eq!(invitation.outcome, Outcome::HadAccount);
    assert_eq!(invitation.account, stand_in.id(ANN));
}

#[tokio::test]
async fn an_account_is_found_by_its_id_and_nothing_else_is_asked_for() {
    for minor in [19, 22, 37] {
        let (stand_in, client, id) = with_ann(minor);
        stand_in.disable(ANN);
        let found = client.account_by_id(&id).await.unwrap().unwrap();
        assert_eq!((found.email.as_str(), &found.id), (ANN, &id));
        assert_eq!(found.enabled, (minor > 25).then_some(false), "1.{minor}");
        assert_eq!(client.account_by_id(NOBODY).await, Ok(None), "1.{minor}");
    }
}

#[tokio::test]
async fn each_change_reaches_the_account_that_is_named_and_no_other() {
    for minor in [19, 22, 25, 27, 30, 32, 37] {
        let (stand_in, client, id) = with_ann(minor);
        for change in [
            AccountChange::Deauthorize,
            AccountChange::Disable,
            AccountChange::Disable,
            AccountChange::Enable,
            AccountChange::Enable,
            AccountChange::Disable,
        ] {
            assert_eq!(client.change(&id, change).await, Ok(Changed::Done), "1.{minor}");
        }
        assert_eq!(stand_in.enabled(ANN), Some(false));
        assert_eq!(client.change(&id, AccountChange::Delete).await, Ok(Changed::Done));
        assert_eq!(stand_in.enabled(ANN), None);
        let made = stand_in.changes(ANN);
        assert_eq!(
            made,
            [
                "deauth", "disable", "disable", "enable", "enable", "disable", "delete"
            ],
            "1.{minor}"
        );
        assert_eq!(stand_in.all_changes().len(), made.len());
        assert_eq!(stand_in.enabled("bob@example.org"), Some(true));
        assert!(stand_in.logins() <= 1, "1.{minor}");
    }
}

#[tokio::test]
async fn an_account_that_is_gone_is_told_by_every_version() {
    for minor in [19, 22, 27, 37] {
        let (stand_in, client, id) = with_ann(minor);
        stand_in.delete([ANN]);
        for change in AccountChange::ALL {
            if minor < 29 && change == AccountChange::Resend {
                continue;
            }
            assert_eq!(
                client.change(&id, change).await,
                Ok(Changed::NoAccount),
                "1.{minor}"
            );
        }
        assert!(stand_in.all_changes().is_empty());
    }
}

#[tokio::test]
async fn a_session_that_is_over_is_renewed_before_the_change_which_is_made_once() {
    for minor in [26, 37] {
        let (stand_in, client, id) = with_ann(minor);
        assert!(client.account_by_id(&id).await.unwrap().is_some());
        stand_in.forget_sessions();
        let answer = client.change(&id, AccountChange::Disable).await;
        assert_eq!(answer, Ok(Changed::Done), "1.{minor}");
        assert_eq!(stand_in.changes(ANN), ["disable"]);
        assert_eq!(stand_in.logins(), 2, "1.{minor}");
    }
}

// -- invitations again --------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_invitation_is_mailed_again_until_the_person_registers() {
    let stand_in = StandIn::start();
    let client = client(&stand_in);
    let id = client.invite(&address(ANN)).await.unwrap().account.unwrap();
    for mails in 2..4 {
        let answer = client.change(&id, AccountChange::Resend).await;
        assert_eq!(answer, Ok(Changed::Done));
        assert_eq!(stand_in.mails(ANN), mails);
    }
    stand_in.register(ANN);
    let answer = client.change(&id, AccountChange::Resend).await;
    assert_eq!(answer, Ok(Changed::AlreadyRegistered));
    assert_eq!(stand_in.mails(ANN), 3);
}

#[tokio::test]
async fn a_vaultwarden_without_mail_accepts_a_resend_and_mails_nothing() {
    let stand_in = StandIn::with(Setup {
        mail: false,
        ..Setup::default()
    });
    let client = client(&stand_in);
    let id = client.invite(&address(ANN)).await.unwrap().account.unwrap();
    assert_eq!(client.change(&id, AccountChange::Resend).await, Ok(Changed::Done));
    assert!(stand_in.mailed().is_empty());
}

#[tokio::test]
async fn a_resend_that_the_mail_server_refuses_is_judged_like_an_invitation() {
    for (message, expected) in [
        (
            "SMTP 5xx error: permanent error (550): 5.1.1 no such user",
            "reject",
        ),
        ("SMTP 4xx error: transient error (451): greylisted", "retry"),
        ("SMTP error: Connection error: Connection refused", "outage"),
        ("Error", "retry"),
    ] {
        let stand_in = StandIn::start();
        let client = client(&stand_in);
        let id = client.invite(&address(ANN)).await.unwrap().account.unwrap();
        // Its errors have the status 400, as no code is set.
        stand_in.fail(
            On::Change("invite/resend"),
            Some(ANN),
            1,
            Fault::Error(400, message),
        );
        let error = client.change(&id, AccountChange::Resend).await.unwrap_err();
        let disposition = match error.disposition() {
            Disposition::Reject(rejection) => {
                assert_eq!(rejection.reason, format!("Vaultwarden says: {message}"));
                "reject"
            }
            Disposition::Retry => "retry",
            Disposition::Outage => "outage",
            other => panic!("{other:?}"),
        };
        assert_eq!(disposition, expected, "{error}");
    }
}

// -- what is refused ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_last_owner_of_an_organization_cannot_be_deleted_and_the_reason_is_a_persons_language() {
    for minor in [20, 37] {
        let (stand_in, client, id) = with_ann(minor);
        stand_in.make_last_owner(ANN);
        let error = client.change(&id, AccountChange::Delete).await.unwrap_err();
        let Disposition::Reject(rejection) = error.disposition() else {
            panic!("{error}");
        };
        assert_eq!(
            rejection.reason,
            "is the last owner of an organization in Vaultwarden; make someone else an owner first"
        );
        assert_eq!(rejection.key, None);
        assert!(error.to_string().contains(&id), "{error}");
        assert_eq!(stand_in.enabled(ANN), Some(true));
        let disabled = client.change(&id, AccountChange::Disable).await;
        assert_eq!(disabled, Ok(Changed::Done));
    }
}

#[tokio::test]
async fn a_change_that_fails_inside_vaultwarden_is_tried_again_and_concerns_no_one_else() {
    for (fault, told) in [
        (Fault::Error(400, "Error deleting user"), "Error deleting user"),
        (Fault::Error(500, "Error deleting user"), "Error deleting user"),
        (Fault::Page(500), "status 500"),
    ] {
        let (stand_in, client, id) = with_ann(37);
        stand_in.fail(On::Change("delete"), Some(ANN), 1, fault);
        let error = client.change(&id, AccountChange::Delete).await.unwrap_err();
        assert_eq!(error.disposition(), Disposition::Retry, "{error}");
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(client.change(&id, AccountChange::Delete).await, Ok(Changed::Done));
    }
}

#[tokio::test]
async fn a_version_without_resend_is_told_what_it_lacks() {
    for minor in [22, 27, 28] {
        let (_stand_in, client, id) = with_ann(minor);
        let error = client.change(&id, AccountChange::Resend).await.unwrap_err();
        assert!(
            matches!(&error, Error::NoEndpoint { since: "1.28.1", url, .. } if url.ends_with("/invite/resend")),
            "1.{minor}: {error}"
        );
        assert_eq!(error.disposition(), Disposition::Retry);
        // Everything else goes on.
        assert_eq!(
            client.change(&id, AccountChange::Disable).await,
            Ok(Changed::Done)
        );
    }
}

#[tokio::test]
async fn a_proxy_that_blocks_a_change_is_no_missing_account() {
    for status in [403, 404] {
        let (stand_in, client, id) = with_ann(37);
        stand_in.fail(On::Change("disable"), None, FOREVER, Fault::Page(status));
        let error = client.change(&id, AccountChange::Disable).await.unwrap_err();
        assert!(
            matches!(error, Error::NoEndpoint { status: s, since: "1.18.0", .. } if s == status),
            "{error}"
        );
        assert_eq!(stand_in.enabled(ANN), Some(true));
    }
}

#[tokio::test]
async fn nothing_but_a_uuid_becomes_part_of_a_url() {
    let stand_in = StandIn::start();
    let client = client(&stand_in);
    for id in [
        "",
        "..",
        "../invite",
        "overview",
        "a?b",
        "63efca19-3103-4a59-8531-a0b1c2d3e4/5",
    ] {
        for change in AccountChange::ALL {
            let error = client.change(id, change).await.unwrap_err();
            assert!(matches!(error.disposition(), Disposition::Reject(_)), "{error}");
        }
        assert!(client.account_by_id(id).await.is_err());
    }
    assert!(stand_in.calls().is_empty());
}

// -- what is lost -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_change_without_an_answer_has_an_unknown_outcome() {
    for (moment, done) in [(Moment::Arrived, false), (Moment::Saved, true)] {
        for fault in [Fault::Drop(moment), Fault::Hold(moment)] {
            let (stand_in, _, id) = with_ann(37);
            let impatient = client_of(&ClientSettings {
                timeout: Duration::from_millis(300),
                slow_timeout: Duration::from_millis(300),
                ..settings(&stand_in.url())
            });
            stand_in.fail(On::Change("disable"), Some(ANN), 1, fault);
            let error = impatient.change(&id, AccountChange::Disable).await.unwrap_err();
            assert_eq!(error.disposition(), Disposition::Ambiguous, "{error}");
            assert_eq!(stand_in.enabled(ANN), Some(!done));
            stand_in.release();
            // The same again is harmless.
            let again = impatient.change(&id, AccountChange::Disable).await;
            assert_eq!(again, Ok(Changed::Done));
        }
    }
}

#[tokio::test]
async fn a_vaultwarden_that_is_away_was_changed_by_no_one() {
    let (mut stand_in, client, id) = with_ann(37);
    for (status, expected) in [
        (502, Disposition::Outage),
        (503, Disposition::Outage),
        (504, Disposition::Ambiguous),
        (200, Disposition::Operator),
    ] {
        stand_in.fail(On::Change("delete"), None, 1, Fault::Page(status));
        let error = client.change(&id, AccountChange::Delete).await.unwrap_err();
        assert_eq!(error.disposition(), expected, "{error}");
    }
    stand_in.down();
    // Whether an old connection broke before or after the call is unknown.
    let client = client_of(&settings(&stand_in.url()));
    let error = client.change(&id, AccountChange::Delete).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Outage, "{error}");
    assert_eq!(stand_in.enabled(ANN), Some(true));
}

// -- a dry run ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_dry_run_says_what_a_change_would_do_and_changes_nothing() {
    use std::sync::Arc;

    use ldap_usher::app::{DryRun, Invited};

    let (stand_in, client, id) = with_ann(37);
    let dry_run = DryRun::new(Arc::new(client), Arc::new(Invited::default()));
    for change in AccountChange::ALL {
        let expected = if change == AccountChange::Resend {
            Changed::AlreadyRegistered
        } else {
            Changed::Done
        };
        assert_eq!(dry_run.change(&id, change).await, Ok(expected));
        assert_eq!(dry_run.change(NOBODY, change).await, Ok(Changed::NoAccount));
    }
    assert!(stand_in.all_changes().is_empty());
    assert!(
        stand_in
            .calls()
            .iter()
            .all(|call| call.what.starts_with("GET") || call.what == "POST /admin")
    );
}
