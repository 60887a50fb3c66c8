//! Panics inside `ldap3` are reported as the session error that they become, not as a crash.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether the code that runs on this thread right now belongs to `ldap3`: the process's panic hook then says
/// nothing, because the panic is caught and becomes the error of one session.
pub fn in_library() -> bool {
    QUIET.get()
}

/// Marks a future as `ldap3`'s while it is polled.
pub(super) struct Quiet<F>(pub(super) F);

impl<F: Future + Unpin> Future for Quiet<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = QUIET.replace(true);
        let poll = Pin::new(&mut self.0).poll(context);
        QUIET.set(before);
        poll
    }
}
