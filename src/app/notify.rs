//! `notify --test`: sends a test event to each receiver.

use anyhow::bail;

use crate::config::Config;
use crate::notify;

/// What a receiver answered to the test event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The receiver, without secrets.
    pub receiver: String,
    /// Its answer, or why it did not get the event and what to do about it.
    pub answer: Result<String, String>,
}

/// Sends an event of the kind `test` to each configured receiver. Needs no state.
///
/// # Errors
/// There is no receiver, or its TLS files or its proxy cannot be used.
pub async fn notify_test(config: &Config) -> anyhow::Result<Vec<Answer>> {
    let answers = notify::test(&config.notify).await?;
    if answers.is_empty() {
        bail!("there is no receiver; set `url` or `command` in [notify]");
    }
    let answers = answers.into_iter().map(|(receiver, answer)| Answer {
        receiver,
        answer: answer.map_err(|error| error.to_string()),
    });
    Ok(answers.collect())
}
