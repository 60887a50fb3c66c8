//! `check`: what works, what does not, and what to do about it.

use std::path::Path;

use super::exit::Exit;
use crate::config::{self, Config, ConfigError};
use crate::service::{self, Finding, Level};

/// Prints the diagnosis.
pub(super) async fn check(path: Option<&Path>, json: bool) -> anyhow::Result<Exit> {
    let findings = match config::load(path) {
        Err(error) => broken(&error),
        Ok(loaded) => {
            let mut findings = configured(&loaded.config);
            findings.extend(service::check(&loaded.config).await);
            findings
        }
    };
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    if json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?;
    } else {
        super::print(&text(&findings))?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn broken(error: &ConfigError) -> Vec<Finding> {
    let problems = match error {
        ConfigError::Invalid { problems } => problems.clone(),
        other => vec![other.to_string()],
    };
    let mut findings: Vec<Finding> = problems
        .iter()
        .map(|problem| Finding::of_error(Level::Fail, "configuration", problem, ""))
        .collect();
    let rest = "not tried, because the configuration cannot be used";
    findings.push(Finding::new(Level::Skip, "directories and vaultwarden", rest, ""));
    findings
}

fn configured(config: &Config) -> Vec<Finding> {
    let warnings = config.warnings.iter();
    let mut findings: Vec<Finding> = warnings
        .map(|warning| Finding::of_error(Level::Warn, "configuration", warning, ""))
        .collect();
    let detail = format!(
        "can be used, and its secrets can be read; {} is the state file",
        config.state.display()
    );
    findings.push(Finding::new(Level::Ok, "configuration", detail, ""));
    findings
}

/// One line a finding.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding {
        level,
        subject,
        detail,
        remedy,
    } in findings
    {
        text.push_str(&format!("{level:<4}  {subject}: {detail}"));
        if !remedy.is_empty() {
            text.push_str(&format!(" -> {remedy}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_stands_alone() {
        let subject = "directory main, ldaps://ldap.example.org:636";
        let findings = [
            Finding::new(Level::Ok, "configuration", "can be used", ""),
            Finding::of_error(
                Level::Fail,
                format!("{subject}, TLS"),
                "invalid peer certificate: UnknownIssuer; name the CA in `ca_file`",
                "",
            ),
            Finding::new(
                Level::Skip,
                format!("{subject}, bind"),
                "not tried, because TLS failed",
                "",
            ),
        ];
        insta::assert_snapshot!(text(&findings), @r"
            ok    configuration: can be used
            fail  directory main, ldaps://ldap.example.org:636, TLS: invalid peer certificate: UnknownIssuer -> name the CA in `ca_file`
            skip  directory main, ldaps://ldap.example.org:636, bind: not tried, because TLS failed
            ");
    }

    #[test]
    fn a_configuration_that_cannot_be_used_is_one_failure_a_problem() {
        let problems = ["a.toml:1: x: unknown key; remove it", "a.toml:2: y: missing"];
        let error = ConfigError::Invalid {
            problems: problems.map(str::to_owned).into(),
        };
        insta::assert_snapshot!(text(&broken(&error)), @r"
            fail  configuration: a.toml:1: x: unknown key -> remove it
            fail  configuration: a.toml:2: y: missing
            skip  directories and vaultwarden: not tried, because the configuration cannot be used
            ");
    }
}
