//! Handles panics: one log line, or an error for the caller of [`contain`]; never a raw backtrace.

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
    /// The panic message.
    message: String,
}

thread_local! {
    /// `Some` while a contained future is polled on this thread. The hook stores the location of the panic in it.
    static CONTAINED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a hook that logs each panic as one error event with its location, unless it is contained.
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

/// Runs `work` to its end. A panic becomes an error and is not logged.
///
/// # Errors
/// `work` panicked.
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
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Collects the log.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// One test for both, because the hook belongs to the process, which several tests may share.
    #[test]
    fn a_panic_is_logged_once_and_a_contained_one_is_returned_as_an_error() {
        let log = Log::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || lines.clone())
            .with_ansi(false)
            .finish();
        let before = std::panic::take_hook();
        report();
        let (contained, reported) = tracing::subscriber::with_default(subscriber, || {
            let contained = contain(async {
                tokio::task::yield_now().await;
                panic!("the server said {}", 42);
            });
            let contained = futures::executor::block_on(contained);
            assert_eq!(log.text(), "");
            (contained, std::panic::catch_unwind(|| panic!("a mistake")))
        });
        std::panic::set_hook(before);

        let contained = contained.unwrap_err().to_string();
        assert!(contained.starts_with("panicked at src/panics.rs:"), "{contained}");
        assert!(contained.ends_with(": the server said 42"), "{contained}");
        assert!(reported.is_err());
        let text = log.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("ERROR") && text.contains(": a mistake; please report this"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn contain_returns_the_output_of_work_that_does_not_panic() {
        assert_eq!(contain(async { 7 }).await, Ok(7));
    }
}
