//! The calls that the invite worker needs, for every version from 1.19 on.

use std::sync::{Arc, PoisonError, RwLock};

use futures::future::{FutureExt, TryFutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::answer::Answer;
use super::client::{Call, Client};
use super::decode::Objects;
use super::session::{Entrance, Session};
use super::{
    Account, Admin, Configuration, Identity, Portal, Recognition, Reply, SessionStore, Settings,
    VaultwardenError, decode, diagnose, identity, refusal,
};
use crate::clock::Clock;
use crate::model::{EmailAddress, Outcome};

/// One Vaultwarden, through its admin API.
pub struct Vaultwarden {
    session: RwLock<Arc<Session>>,
    store: Arc<dyn SessionStore>,
    clock: Clock,
}

fn open(
    settings: &Settings,
    store: &Arc<dyn SessionStore>,
    clock: &Clock,
) -> Result<Arc<Session>, VaultwardenError> {
    let token = settings.token()?;
    let client = Client::new(settings)?;
    Ok(Arc::new(Session::new(
        client,
        token,
        store.clone(),
        clock.clone(),
    )))
}

impl Vaultwarden {
    /// A client for the Vaultwarden that `settings` describe. Sends nothing yet; `store` keeps its session between
    /// runs.
    ///
    /// # Errors
    /// A token that cannot be right, a URL or a CA file that cannot be used.
    pub fn new(
        settings: &Settings,
        store: Arc<dyn SessionStore>,
        clock: Clock,
    ) -> Result<Self, VaultwardenError> {
        let session = open(settings, &store, &clock)?;
        Ok(Self {
            session: RwLock::new(session),
            store,
            clock,
        })
    }

    /// Takes other settings for every call from here on. A session goes on as long as the token is the one that opened
    /// it; another one is tried by the next call.
    ///
    /// # Errors
    /// As [`Vaultwarden::new`]; the settings stay as they were.
    pub fn renew(&self, settings: &Settings) -> Result<(), VaultwardenError> {
        let session = open(settings, &self.store, &self.clock)?;
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
        Ok(())
    }

    fn session(&self) -> Arc<Session> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    /// Vaultwarden's version. `None` before 1.25, and from builds that do not know it.
    ///
    /// # Errors
    /// No answer, or not Vaultwarden's.
    pub async fn version(&self) -> Result<Option<String>, VaultwardenError> {
        Ok(self.session().version().await?.map(|(text, _)| text))
    }

    /// What Vaultwarden tells everyone of itself; `None` before 1.26, and from what is no Vaultwarden.
    ///
    /// # Errors
    /// No answer, or not Vaultwarden's.
    pub async fn portal(&self) -> Result<Option<Portal>, VaultwardenError> {
        diagnose::portal(self.session().client()).await
    }

    /// Vaultwarden's own configuration; `None` before 1.19, and where a proxy hides it.
    ///
    /// # Errors
    /// No answer, or not Vaultwarden's.
    pub async fn configuration(&self) -> Result<Option<Configuration>, VaultwardenError> {
        self.session().configuration().await
    }

    /// By what the admin API let us in, once a call was answered.
    pub async fn entrance(&self) -> Entrance {
        self.session().entrance().await
    }

    async fn send_invitation(&self, address: &EmailAddress) -> Result<Outcome, VaultwardenError> {
        let mut answer = self.session().call(Call::Invite(address)).await?;
        let status = answer.status;
        match status {
            200 => {
                let body = answer.body().await?;
                // Up to 1.20 there is nothing in it.
                if body.is_empty() || decode::is_object(&body) {
                    Ok(Outcome::Invited)
                } else {
                    Err(answer.foreign_page())
                }
            }
            409 => Ok(Outcome::HadAccount),
            400 | 500 => {
                let message = answer.message.as_deref().unwrap_or_default();
                // Another invitation of the same address may have won, and 1.20 created accounts before it sent mails.
                if refusal::has_account(message) || matches!(self.find(address).await, Ok(Some(_))) {
                    return Ok(Outcome::HadAccount);
                }
                if message.is_empty() && status == 400 {
                    return Err(answer.strange_status("an invitation"));
                }
                Err(refusal::classify(
                    self.session().client().url(),
                    address,
                    status,
                    message,
                ))
            }
            _ => Err(answer.strange_status("an invitation")),
        }
    }

    async fn find(&self, address: &EmailAddress) -> Result<Option<Account>, VaultwardenError> {
        let mut answer = self.session().call(Call::ByMail(address)).await?;
        match answer.status {
            200 => match decode::account(&answer.body().await?) {
                Some(account) => Ok(Some(account)),
                None => Err(answer.unexpected("something that is not an account")),
            },
            404 if answer.message.is_some() => Ok(None),
            // Before 1.28 there is only the list.
            404 => {
                let mut accounts = self.list();
                while let Some(account) = accounts.try_next().await? {
                    if account.email == address.as_str() {
                        return Ok(Some(account));
                    }
                }
                Ok(None)
            }
            _ => Err(answer.strange_status("a look-up")),
        }
    }

    fn list(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        let open = async {
            let answer = self.session().call(Call::Users).await?;
            match answer.status {
                200 => Ok(read_list(answer)),
                _ => Err(answer.strange_status("a list of accounts")),
            }
        };
        let list = open.try_flatten_stream();
        list.or_else(|error| self.explain_no_list(error)).boxed()
    }

    /// What a list means that failed: where Vaultwarden answers otherwise, it is the list alone that cannot be had. It is
    /// made up as a whole, which takes longer than some proxies wait.
    async fn explain_no_list(&self, error: VaultwardenError) -> Result<Account, VaultwardenError> {
        let Some((url, cause)) = error.of_one_call() else {
            return Err(error);
        };
        Err(match self.session().alive().await {
            Ok(()) => VaultwardenError::NoList { url, cause },
            Err(_) => error,
        })
    }

    /// Whether there is an account with this id.
    async fn exists(&self, id: &str) -> Result<bool, VaultwardenError> {
        let mut answer = self.session().call(Call::ById(id)).await?;
        match answer.status {
            200 => match decode::account(&answer.body().await?) {
                Some(_) => Ok(true),
                None => Err(answer.unexpected("something that is not an account")),
            },
            // Up to 1.20 it is 400.
            400 | 404 if answer.message.is_some() => Ok(false),
            _ => Err(answer.strange_status("a look-up")),
        }
    }

    async fn compare(&self, known: &Identity) -> Result<Recognition, VaultwardenError> {
        let mut left = known.clone();
        let mut gone = Vec::new();
        for id in &known.accounts {
            if !self.exists(id).await? {
                gone.push(id);
            } else if gone.is_empty() && known.is_full() {
                // The usual case costs one look-up.
                return Ok(Recognition::Same(left));
            }
        }
        left.accounts.retain(|id| !gone.contains(&id));
        let listed = identity::compare(self.list(), known).await;
        let mut recognition = match listed {
            // What is left is enough where the list cannot be had.
            Err(VaultwardenError::NoList { .. }) if !left.is_empty() => return Ok(Recognition::Same(left)),
            other => other?,
        };
        let portal = self.portal().await.ok().flatten();
        let (Recognition::First(noted) | Recognition::Same(noted) | Recognition::Other(noted)) =
            &mut recognition;
        noted.domain = portal.and_then(|portal| portal.domain);
        Ok(recognition)
    }
}

/// The accounts of a list, as its pieces arrive. What has no address is no account and is left out.
fn read_list(answer: Answer) -> impl futures::Stream<Item = Result<Account, VaultwardenError>> {
    let pieces = stream::try_unfold((answer, Objects::default()), |(mut answer, mut objects)| async {
        let Some(piece) = answer.chunk().await? else {
            return match objects.finish() {
                Ok(()) => Ok(None),
                Err(malformed) => Err(answer.unexpected(malformed.0)),
            };
        };
        match objects.push(&piece) {
            Ok(complete) => {
                let accounts = complete.into_iter().filter_map(|object| decode::account(&object));
                Ok(Some((stream::iter(accounts.map(Ok)), (answer, objects))))
            }
            Err(malformed) => Err(answer.unexpected(malformed.0)),
        }
    });
    pieces.try_flatten()
}

impl Admin for Vaultwarden {
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Outcome> {
        self.send_invitation(address).boxed()
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        self.find(address).boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        self.list()
    }

    fn alive(&self) -> Reply<'_, ()> {
        async { self.session().alive().await }.boxed()
    }

    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        self.compare(known).boxed()
    }
}
