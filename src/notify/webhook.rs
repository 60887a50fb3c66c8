//! The webhook: a signed POST for each event.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use super::signature::Signer;
use super::target::Target;
use super::{Notification, NotifyError, Receiver};
use crate::clock::Clock;

/// When the request was made, in seconds since 1970.
const TIMESTAMP: HeaderName = HeaderName::from_static("ldap-usher-timestamp");
/// The signature over timestamp and body.
const SIGNATURE: HeaderName = HeaderName::from_static("ldap-usher-signature");

/// A URL that gets each event.
pub(super) struct Webhook {
    settings: Mutex<Arc<Settings>>,
    clock: Clock,
}

struct Settings {
    target: Target,
    signer: Option<Signer>,
}

impl Webhook {
    pub(super) const NAME: &'static str = "webhook";

    /// Without a secret, requests have no signature.
    pub(super) fn new(target: Target, secret: Option<&SecretString>, clock: Clock) -> Self {
        let signer = secret.map(Signer::new);
        Self {
            settings: Mutex::new(Arc::new(Settings { target, signer })),
            clock,
        }
    }

    /// Uses the URL and the secret of `other` from the next request on.
    pub(super) fn renew(&self, other: &Self) {
        let renewed = other.settings();
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
    }

    fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.lock();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn headers(&self, settings: &Settings, body: &str) -> HeaderMap {
        let timestamp = (self.clock.now().0 / 1000).to_string();
        let signature = settings
            .signer
            .as_ref()
            .map(|signer| signer.sign(&timestamp, body));
        let headers = [(TIMESTAMP, Some(timestamp)), (SIGNATURE, signature)];
        let headers = headers.into_iter().filter_map(|(name, value)| {
            let value = HeaderValue::from_str(&value?).ok()?;
            Some((name, value))
        });
        headers.collect()
    }
}

impl Receiver for Webhook {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shown(&self) -> String {
        self.settings().target.shown().to_owned()
    }

    fn deliver<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<String, NotifyError>> {
        async move {
            let settings = self.settings();
            let body = notification.body.clone();
            let headers = self.headers(&settings, &body);
            settings.target.post(headers, body).await
        }
        .boxed()
    }
}
