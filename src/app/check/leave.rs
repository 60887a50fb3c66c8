//! Says what happens to the accounts of people who leave.

use super::super::policies::{leave, limits};
use super::{Finding, Severity};
use crate::config::Config;
use crate::rules::{LeavePolicy, Limits};

/// One finding for each directory.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let (leave, limits) = (leave(config), limits(config));
    let directories = leave.directories.iter();
    directories
        .map(|(name, policy)| judge(name, *policy, &limits))
        .collect()
}

fn judge(directory: &str, policy: LeavePolicy, limits: &Limits) -> Finding {
    let subject = format!("directory {directory}, leavers");
    let Some(action) = policy.action else {
        let detail = "their accounts are left alone (`action` of [leave] is \"none\")";
        return Finding::new(Severity::Ok, subject, detail, "");
    };
    let does = format!(
        "the accounts in our care are {} {} after their people left",
        action.participle(),
        humantime::format_duration(policy.grace)
    );
    let counts = [
        limits
            .leavers_per_listing
            .map(|limit| format!("{limit} of a listing")),
        limits
            .leavers_percent
            .map(|limit| format!("{limit} % of the members of a listing")),
        limits.leavers_per_hour.map(|limit| format!("{limit} in an hour")),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    if counts.is_empty() {
        let detail = format!(
            "{does}; there is no limit on their number, except that more than half of the members are held"
        );
        let remedy = "set `leavers_per_listing`, `leavers_percent` and `leavers_per_hour` in [limits]: a directory may answer wrongly";
        return Finding::new(Severity::Warn, subject, detail, remedy);
    }
    let detail = format!(
        "{does}; if more than {} leave, they are held until `ldap-usher approve`",
        counts.join(" or ")
    );
    Finding::new(Severity::Ok, subject, detail, "")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::ActionKind;

    #[test]
    fn the_finding_names_the_action_the_grace_and_the_limits() {
        let mut policy = LeavePolicy::default();
        let mut limits = Limits::default();
        assert!(judge("main", policy, &limits).detail.contains("left alone"));
        policy.action = Some(ActionKind::Disable);
        policy.grace = Duration::from_secs(3600);
        assert_eq!(judge("main", policy, &limits).level, Severity::Warn);
        limits.leavers_per_listing = Some(10);
        limits.leavers_per_hour = Some(20);
        let finding = judge("main", policy, &limits);
        assert_eq!(finding.level, Severity::Ok);
        insta::assert_snapshot!(finding.detail, @r"the accounts in our care are disabled 1h after their people left; if more than 10 of a listing or 20 in an hour leave, they are held until `ldap-usher approve`");
    }
}
