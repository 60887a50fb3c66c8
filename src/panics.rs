//! What becomes of a panic: one line for the operator, or an error for whoever contained it; never a raw backtrace.

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::pin::pin;

use futures::FutureExt;

/// A panic that [`contain`] caught.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked{at}: {message}")]
pub struct Panic {
    /// ` at file:line:column`; empty while [`report`] is not installed.
    at: String,
    /// What the panic said.
    message: String,
}

thread_local! {
    /// `Some` while a contained future is polled on this thread; the hook leaves the place of the panic in it.
    static CONTAINED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic is logged as one error event with its place, unless it is contained.
pub fn report() {
    std::panic::set_hook(Box::new(|info| {
        let contained = CONTAINED.with_borrow_mut(|place| match place {
            Some(at) => {
                *at = place_of(info);
                true
            }
            None => false,
        });
        if !contained {
            let panic = Panic {
                at: place_of(info),
                message: message_of(info.payload()),
            };
            tracing::error!("{panic}; please report this");
        }
    }));
}

/// Runs `work` to its end; a panic in it ends it with an error instead, and is not logged.
///
/// # Errors
/// The panic.
///
/// # Cancellation
/// As `work`.
pub async fn contain<F: Future>(work: F) -> Result<F::Output, Panic> {
    let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
    poll_fn(|context| {
        let outer = CONTAINED.replace(Some(String::new()));
        let polled = work.as_mut().poll(context);
        let at = CONTAINED.replace(outer).unwrap_or_default();
        polled.map_err(|payload| Panic {
            at,
            message: message_of(&*payload),
        })
    })
    .await
}

fn place_of(info: &PanicHookInfo<'_>) -> String {
    info.location()
        .map_or_else(String::new, |place| format!(" at {place}"))
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_contained_panic_is_an_error_that_says_what_and_where() {
        report();
        let panic = contain(async {
            tokio::task::yield_now().await;
            panic!("the server said {}", 42);
        });
        let text = panic.await.unwrap_err().to_string();
        assert!(text.starts_with("panicked at src/panics.rs:"), "{text}");
        assert!(text.ends_with(": the server said 42"), "{text}");
    }

    #[tokio::test]
    async fn work_that_does_not_panic_returns_what_it_returns() {
        assert_eq!(contain(async { 7 }).await, Ok(7));
    }
}
