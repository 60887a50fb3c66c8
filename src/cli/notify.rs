//! `notify --test`: sends a test event to each receiver.

use std::path::Path;

use super::exit::Exit;
use crate::app::{self, Answer};
use crate::foreign::printable;

/// Sends the test event and prints what each receiver answered.
pub(super) async fn test(config: Option<&Path>) -> anyhow::Result<Exit> {
    let answers = app::notify_test(&super::load(config)?).await?;
    let lines: String = answers.iter().map(line).collect();
    super::print(&lines)?;
    let failed = answers.iter().any(|answer| answer.answer.is_err());
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn line(Answer { receiver, answer }: &Answer) -> String {
    let (label, text) = match answer {
        Ok(text) => ("ok  ", text),
        Err(text) => ("fail", text),
    };
    format!("{label}  {}\n", printable(&format!("{receiver}: {text}")))
}
