//! The settings of the rules, from the configuration.

use crate::config::{self, Config, LeaveAction};
use crate::model::ActionKind;
use crate::rules::{LeavePolicies, LeavePolicy, Limits, ReminderPolicy};

/// The configured limits.
pub(super) fn limits(config: &Config) -> Limits {
    let config::Limits {
        invites_per_listing,
        invites_per_hour,
        addresses_per_person,
        leavers_per_listing,
        leavers_percent,
        leavers_per_hour,
    } = config.limits;
    Limits {
        invites_per_listing,
        invites_per_hour,
        addresses_per_person,
        hold_everyone: config.invite.hold == config::HoldInvitations::All,
        leavers_per_listing,
        leavers_percent,
        leavers_per_hour,
    }
}

/// What happens to the accounts of leavers.
pub(super) fn leave(config: &Config) -> LeavePolicies {
    let policy = |leave: &config::Leave| LeavePolicy {
        action: match leave.action {
            LeaveAction::None => None,
            LeaveAction::Deauthorize => Some(ActionKind::Deauthorize),
            LeaveAction::Disable => Some(ActionKind::Disable),
            LeaveAction::Delete => Some(ActionKind::Delete),
        },
        grace: leave.grace,
    };
    let of_directory =
        |directory: &config::Directory| (directory.settings.name.clone(), policy(&directory.leave));
    LeavePolicies {
        directories: config.directories.iter().map(of_directory).collect(),
        forgotten: policy(&config.leave),
        protect: config.protect.clone(),
    }
}

/// When people who have not registered are reminded.
pub(super) fn reminders(config: &Config) -> ReminderPolicy {
    ReminderPolicy {
        after: config.invite.resend_after,
        limit: config.invite.resend_limit,
    }
}
