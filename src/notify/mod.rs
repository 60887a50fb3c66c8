//! Tells others what happened: a webhook, a command, and a ping while all is well.
//!
//! A `Delivery` reads the journal for one receiver, with a cursor of its own that it keeps in the store. It goes on to the
//! next event when the receiver has accepted one, so each receiver gets all events at least once and in order, however
//! long it was away, and one that fails delays neither another nor any invitation. `notification` and `signature` are pure:
//! what is sent, and the proof of who sent it.
//!
//! A webhook verifies an event in three steps. `Ldap-Usher-Timestamp` must be close to the present time, in seconds since
//! 1970: without that check, somebody who recorded a request could send it again. `Ldap-Usher-Signature` must be `v1=` and
//! the HMAC-SHA256 of the timestamp, a full stop and the body as it was received, in lower-case hexadecimal digits,
//! compared in constant time. An event whose `id` it has accepted before is accepted again and ignored.

mod command;
mod delivery;
mod error;
mod notification;
mod ping;
mod signature;
mod target;
mod webhook;

use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use command::Command;
pub use delivery::Context;
use delivery::{Delivery, Until};
pub use error::NotifyError;
use notification::Notification;
use ping::Ping;
use target::Target;
use webhook::Webhook;

use crate::clock::Clock;
use crate::config;
use crate::store::StoreError;
use crate::telemetry::Observer;

/// The name of the note with the random identity of this state.
const INSTANCE: &str = "notify-instance";

/// Whoever gets notifications.
trait Receiver: Send + Sync {
    /// `webhook` or `command`.
    fn name(&self) -> &'static str;

    /// Which one it is, without secrets.
    fn shown(&self) -> String;

    /// Delivers one notification within 30 seconds. Returns what the receiver answered.
    ///
    /// # Errors
    /// The receiver may or may not have accepted it.
    fn deliver<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<String, NotifyError>>;
}

/// All configured receivers, and the ping.
pub struct Notifier {
    deliveries: Vec<Arc<Delivery>>,
    webhook: Option<Arc<Webhook>>,
    ping: Option<Arc<Ping>>,
}

/// A loop of the service.
pub struct Part(Kind);

enum Kind {
    Delivery(Arc<Delivery>),
    Ping(Arc<Ping>),
}

/// New secrets that are checked and not in use yet.
pub struct Renewal<'a> {
    notifier: &'a Notifier,
    webhook: Option<Webhook>,
    ping: Option<Target>,
}

impl Notifier {
    /// Builds the configured receivers. One that has no cursor begins at the present end of the journal, so this is called
    /// before anything happens.
    ///
    /// # Errors
    /// A TLS file or a proxy cannot be used, or the store failed.
    pub async fn open(config: &config::Notify, context: Context) -> Result<Self, NotifyError> {
        let instance = instance(&context).await?;
        let webhook = webhook(config, &context.clock)?.map(Arc::new);
        let command = command(config).map(Arc::new);
        let mut deliveries = Vec::new();
        let receivers: [(&str, Option<Arc<dyn Receiver>>); 2] = [
            (Webhook::NAME, webhook.clone().map(|webhook| webhook as _)),
            (Command::NAME, command.map(|command| command as _)),
        ];
        for (name, receiver) in receivers {
            match receiver {
                Some(receiver) => {
                    let (events, instance) = (config.events.clone(), instance.clone());
                    let delivery = Delivery::begin(receiver, events, instance, context.clone());
                    deliveries.push(Arc::new(delivery.await?));
                }
                // Otherwise it would get everything from the time in between, should it be configured again.
                None => Delivery::forget(name, &context).await?,
            }
        }
        let ping = ping(config, &context.observer)?.map(Arc::new);
        Ok(Self {
            deliveries,
            webhook,
            ping,
        })
    }

    /// The loops of the service.
    pub fn parts(&self) -> Vec<Part> {
        let deliveries = self.deliveries.iter().cloned().map(Kind::Delivery);
        let ping = self.ping.clone().map(Kind::Ping);
        deliveries.chain(ping).map(Part).collect()
    }

    /// Delivers what is in the journal now, and pings if all is well; within about 10 seconds. A receiver that fails gets
    /// the rest from the next run or the service.
    pub async fn once(&self, stop: &CancellationToken) {
        let deliveries = self.deliveries.iter();
        let deliveries = join_all(deliveries.map(|delivery| delivery.run(Until::Delivered, stop)));
        let ping = async {
            if let Some(ping) = &self.ping {
                // The service gives a request more time.
                let _ = timeout(delivery::ONCE, ping.once()).await;
            }
        };
        tokio::join!(deliveries, ping);
    }

    /// Prepares the use of other secrets. The other keys must be those from which this was opened.
    ///
    /// # Errors
    /// A TLS file or a proxy cannot be used.
    pub fn renewal(&self, config: &config::Notify) -> Result<Renewal<'_>, NotifyError> {
        let clock = Clock::system();
        let renewed = self
            .webhook
            .as_ref()
            .map(|_| webhook(config, &clock))
            .transpose()?;
        let target = |url| Target::new(url, config);
        let ping = self.ping.as_ref().and(config.ping_url.as_ref()).map(target);
        Ok(Renewal {
            notifier: self,
            webhook: renewed.flatten(),
            ping: ping.transpose()?,
        })
    }
}

impl Part {
    /// The name of the loop.
    pub fn name(&self) -> String {
        match &self.0 {
            Kind::Delivery(delivery) => format!("notify {}", delivery.receiver()),
            Kind::Ping(_) => "notify ping".into(),
        }
    }

    /// Runs until `stop`.
    ///
    /// # Cancellation
    /// Safe: an event in progress is delivered again by the next run.
    pub async fn run(&self, stop: &CancellationToken) {
        match &self.0 {
            Kind::Delivery(delivery) => delivery.run(Until::Stopped, stop).await,
            Kind::Ping(ping) => ping.run(stop).await,
        }
    }
}

impl Renewal<'_> {
    /// Uses the new secrets from the next request on.
    pub fn apply(self) {
        if let (Some(webhook), Some(renewed)) = (&self.notifier.webhook, &self.webhook) {
            webhook.renew(renewed);
        }
        if let (Some(ping), Some(renewed)) = (&self.notifier.ping, self.ping) {
            ping.renew(renewed);
        }
    }
}

/// Sends an event of the kind `test` to each configured receiver. Returns which receiver it was and what it answered.
///
/// # Errors
/// A TLS file or a proxy cannot be used. A receiver that fails is part of the result.
pub async fn test(
    config: &config::Notify,
) -> Result<Vec<(String, Result<String, NotifyError>)>, NotifyError> {
    let clock = Clock::system();
    let mut receivers: Vec<Box<dyn Receiver>> = Vec::new();
    receivers.extend(webhook(config, &clock)?.map(|webhook| Box::new(webhook) as _));
    receivers.extend(command(config).map(|command| Box::new(command) as _));
    let notification = Notification::test(&random(), clock.now());
    let mut answers = Vec::new();
    for receiver in receivers {
        let who = format!("{}, {}", receiver.name(), receiver.shown());
        answers.push((who, receiver.deliver(&notification).await));
    }
    Ok(answers)
}

/// Checks what can be checked of each receiver and of the ping without sending anything to them: that the command can be
/// run, and that the servers of the URLs answer. Returns what was checked and the result.
pub async fn check(config: &config::Notify) -> Vec<(String, Result<String, NotifyError>)> {
    let mut findings = Vec::new();
    for (name, url) in [("webhook", &config.url), ("ping", &config.ping_url)] {
        let Some(url) = url else { continue };
        match Target::new(url, config) {
            Ok(target) => findings.push((format!("{name}, {}", target.shown()), target.reach().await)),
            Err(error) => findings.push((name.into(), Err(error))),
        }
    }
    if let Some(program) = config.command.first() {
        let usable = command::check(Path::new(program)).map(|()| "can be run".into());
        findings.push((format!("command, {program}"), usable));
    }
    findings
}

fn webhook(config: &config::Notify, clock: &Clock) -> Result<Option<Webhook>, NotifyError> {
    let Some(url) = &config.url else { return Ok(None) };
    let target = Target::new(url, config)?;
    Ok(Some(Webhook::new(target, config.secret.as_ref(), clock.clone())))
}

fn command(config: &config::Notify) -> Option<Command> {
    let (program, arguments) = config.command.split_first()?;
    Some(Command::new(program, arguments))
}

fn ping(config: &config::Notify, observer: &Observer) -> Result<Option<Ping>, NotifyError> {
    let Some(url) = &config.ping_url else {
        return Ok(None);
    };
    let target = Target::new(url, config)?;
    Ok(Some(Ping::new(target, config.ping_interval, observer.clone())))
}

/// The random identity of this state, which makes the ids of its events unique in the world.
async fn instance(context: &Context) -> Result<String, StoreError> {
    let stored = context.store.get_note(INSTANCE).await?;
    if let Some(stored) = stored.and_then(|note| String::from_utf8(note).ok()) {
        return Ok(stored);
    }
    let instance = random();
    context.store.set_note(INSTANCE, instance.as_bytes()).await?;
    Ok(instance)
}

fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}
