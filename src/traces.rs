//! Spans of OpenTelemetry: what a change of a person leads to, and how long each step takes.
//!
//! Nothing is recorded unless a collector is configured ([`crate::telemetry::traces`]). Traces leave this machine, so no span
//! has a name, a DN, an address or a secret.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{FutureExt, SpanBuilder, SpanKind, Status, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue, Value, global};

thread_local! {
    /// The trace of the span that begins now, if it is known.
    static NEXT: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Whether anything is recorded. A span of which nobody gets to know costs one look at this.
static RECORDING: AtomicBool = AtomicBool::new(false);

/// Says that spans are recorded from now on.
#[cfg(feature = "otel")]
pub(crate) fn record() {
    RECORDING.store(true, Ordering::Relaxed);
}

fn is_recording() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// A span that has not begun; `None` if nothing is recorded.
pub(crate) struct Span(Option<Plan>);

struct Plan {
    builder: SpanBuilder,
    trace: Option<TraceId>,
}

impl Span {
    /// A span for a step of this program. Its parent is the span in which it begins.
    pub(crate) fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(is_recording().then(|| Plan {
            builder: SpanBuilder::from_name(name),
            trace: None,
        }))
    }

    /// A span for a request to a server.
    pub(crate) fn request(name: impl Into<Cow<'static, str>>) -> Self {
        let mut span = Self::new(name);
        if let Some(plan) = &mut span.0 {
            plan.builder.span_kind = Some(SpanKind::Client);
        }
        span
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        if let Some(plan) = &mut self.0 {
            let attributes = plan.builder.attributes.get_or_insert_default();
            attributes.push(KeyValue::new(key, value));
        }
        self
    }

    /// Adds an attribute that is a number of things.
    pub(crate) fn count(self, key: &'static str, value: u64) -> Self {
        self.with(key, i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// Puts the span into the trace of `journey`, without a parent. All spans of a journey are in one trace, also those of
    /// other processes.
    pub(crate) fn of(mut self, journey: &impl Hash) -> Self {
        if let Some(plan) = &mut self.0 {
            let half = |which: u8| {
                let mut hasher = DefaultHasher::new();
                (which, journey).hash(&mut hasher);
                u128::from(hasher.finish())
            };
            plan.trace = Some(TraceId::from(half(0) << 64 | half(1)));
        }
        self
    }

    /// Runs `work` in the span. Spans that begin meanwhile in the same task are its children.
    pub(crate) async fn run<F: Future>(self, work: F) -> F::Output {
        match self.0 {
            Some(plan) => work.with_context(plan.begin()).await,
            None => work.await,
        }
    }

    /// As [`Span::run`]. If `work` fails, the span is marked as failed, with the one of few words that `kind` has for the error.
    pub(crate) async fn attempt<T, E>(
        self,
        kind: impl FnOnce(&E) -> &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.run(async { work.await.inspect_err(|error| failed(kind(error))) })
            .await
    }

    /// Records a step that began at `began`, in milliseconds since 1970, and ends now.
    pub(crate) fn ended(self, began: i64) {
        let Some(mut plan) = self.0 else { return };
        let since_1970 = Duration::from_millis(u64::try_from(began).unwrap_or(0));
        plan.builder.start_time = Some(UNIX_EPOCH + since_1970);
        drop(plan.begin());
    }
}

impl Plan {
    /// Begins the span, which ends with the last copy of its context.
    fn begin(self) -> Context {
        let parent = match self.trace {
            Some(_) => Context::new(),
            None => Context::current(),
        };
        NEXT.set(self.trace);
        let span = self
            .builder
            .start_with_context(&global::tracer("ldap-usher"), &parent);
        NEXT.set(None);
        parent.with_span(span)
    }
}

/// Adds an attribute to the span in which this is called.
pub(crate) fn attribute(key: &'static str, value: impl Into<Value>) {
    if is_recording() {
        Context::current().span().set_attribute(KeyValue::new(key, value));
    }
}

/// Marks the span in which this is called as failed. `kind` is one of few words.
pub(crate) fn failed(kind: impl Into<Value>) {
    if is_recording() {
        attribute("error.type", kind);
        Context::current().span().set_status(Status::error(""));
    }
}

/// The value of the header `traceparent` for requests that are made in the present span (W3C Trace Context); `None` if it is
/// not recorded.
pub(crate) fn traceparent() -> Option<String> {
    if !is_recording() {
        return None;
    }
    let context = Context::current();
    let span = context.span();
    let id = span.span_context();
    let flags = id.trace_flags().to_u8();
    id.is_valid()
        .then(|| format!("00-{}-{}-{flags:02x}", id.trace_id(), id.span_id()))
}

/// The trace of the span that begins now, for whoever makes its identity.
#[cfg(feature = "otel")]
pub(crate) fn next() -> Option<TraceId> {
    NEXT.take()
}
