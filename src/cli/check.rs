//! `check`: shows what works, what does not, and what to do about it.

use std::io;
use std::path::Path;

use super::exit::Exit;
use super::palette::Palette;
use crate::app::{self, Finding, Severity};
use crate::config::{self, Config, ConfigError};
use crate::foreign::printable;

/// Prints each finding as soon as it is made; with `json` all of them at the end.
pub(super) async fn check(path: Option<&Path>, json: bool) -> anyhow::Result<Exit> {
    let palette = Palette::of(&io::stdout());
    let mut findings = Vec::new();
    let mut printed = Ok(());
    let mut say = |finding: Finding| {
        if !json && printed.is_ok() {
            printed = super::print(&line(&finding, palette));
        }
        findings.push(finding);
    };
    let worst = match config::load(path) {
        Err(error) => {
            broken(&error).into_iter().for_each(say);
            Exit::Misconfigured
        }
        Ok(loaded) => {
            configured(&loaded.config).into_iter().for_each(&mut say);
            app::check(&loaded.config, &mut say).await;
            Exit::Failed
        }
    };
    printed?;
    if json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?;
    }
    let failed = findings.iter().any(|finding| finding.level == Severity::Fail);
    Ok(if failed { worst } else { Exit::Done })
}

fn broken(error: &ConfigError) -> Vec<Finding> {
    let problems = match error {
        ConfigError::Invalid { problems } => problems.clone(),
        other => vec![other.to_string()],
    };
    let mut findings: Vec<Finding> = problems
        .iter()
        .map(|problem| Finding::of_error(Severity::Fail, "configuration", problem, ""))
        .collect();
    let rest = "not tried, because the configuration cannot be used";
    findings.push(Finding::new(
        Severity::Skip,
        "directories and vaultwarden",
        rest,
        "",
    ));
    findings
}

fn configured(config: &Config) -> Vec<Finding> {
    let warnings = config.warnings.iter();
    let mut findings: Vec<Finding> = warnings
        .map(|warning| Finding::of_error(Severity::Warn, "configuration", warning, ""))
        .collect();
    let detail = "can be used, and its secrets can be read";
    findings.push(Finding::new(Severity::Ok, "configuration", detail, ""));
    findings
}

/// One finding as one line that is complete on its own, so that it can be pasted elsewhere.
fn line(finding: &Finding, palette: Palette) -> String {
    let Finding {
        level,
        subject,
        detail,
        remedy,
    } = finding;
    let label = format!("{level:<4}");
    let label = match level {
        Severity::Ok => palette.good(&label),
        Severity::Warn => palette.attention(&label),
        Severity::Fail => palette.bad(&label),
        Severity::Skip => label,
    };
    let mut text = format!("{subject}: {detail}");
    if !remedy.is_empty() {
        text.push_str(&format!(" -> {remedy}"));
    }
    format!("{label}  {}\n", printable(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(findings: &[Finding], palette: Palette) -> String {
        findings.iter().map(|finding| line(finding, palette)).collect()
    }

    #[test]
    fn each_line_stands_alone() {
        let subject = "directory main, ldaps://ldap.example.org:636";
        let findings = [
            Finding::new(Severity::Ok, "configuration", "can be used", ""),
            Finding::of_error(
                Severity::Fail,
                format!("{subject}, TLS"),
                "invalid peer certificate: UnknownIssuer; name the CA in `ca_file`",
                "",
            ),
            Finding::new(
                Severity::Skip,
                format!("{subject}, bind"),
                "not tried, because TLS failed",
                "",
            ),
        ];
        insta::assert_snapshot!(text(&findings, Palette::Plain), @r"
            ok    configuration: can be used
            fail  directory main, ldaps://ldap.example.org:636, TLS: invalid peer certificate: UnknownIssuer -> name the CA in `ca_file`
            skip  directory main, ldaps://ldap.example.org:636, bind: not tried, because TLS failed
            ");
        let coloured = text(&findings, Palette::Coloured);
        assert!(
            coloured.starts_with("\x1b[32mok  \x1b[0m  configuration"),
            "{coloured:?}"
        );
    }

    #[test]
    fn each_problem_of_an_invalid_configuration_is_a_failure() {
        let problems = ["a.toml:1: x: unknown key; remove it", "a.toml:2: y: missing"];
        let error = ConfigError::Invalid {
            problems: problems.map(str::to_owned).into(),
        };
        insta::assert_snapshot!(text(&broken(&error), Palette::Plain), @r"
            fail  configuration: a.toml:1: x: unknown key -> remove it
            fail  configuration: a.toml:2: y: missing
            skip  directories and vaultwarden: not tried, because the configuration cannot be used
            ");
    }
}
