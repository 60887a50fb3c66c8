//! [`Vaultwarden`]: the client of the admin API of every version from 1.19 on.

use std::sync::{Arc, PoisonError, RwLock};

use futures::future::{FutureExt, TryFutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::answer::Answer;
use super::client::{Call, Client};
use super::decode::Objects;
use super::session::{AdminSession, AuthMethod};
use super::totp::Totp;
use super::{
    Account, AccountChange, Admin, Changed, ClientSettings, Configuration, Identity, Invitation, Recognition,
    Reply, ServerInfo, SessionStore, VaultwardenError, account, decode, identity, refusal,
};
use crate::clock::Clock;
use crate::foreign;
use crate::model::{EmailAddress, Outcome};

/// A client for the admin API of one Vaultwarden.
pub struct Vaultwarden {
    session: RwLock<Arc<AdminSession>>,
    store: Arc<dyn SessionStore>,
    clock: Clock,
}

fn open(
    settings: &ClientSettings,
    store: &Arc<dyn SessionStore>,
    clock: &Clock,
) -> Result<Arc<AdminSession>, VaultwardenError> {
    let token = settings.token()?;
    let client = Client::new(settings)?;
    let totp = settings.totp_secret.as_ref().map(Totp::parse).transpose();
    let totp = totp.map_err(|problem| VaultwardenError::Setup {
        url: client.url().into(),
        cause: format!("its TOTP secret {problem}"),
    })?;
    Ok(Arc::new(AdminSession::new(
        client,
        token,
        totp,
        store.clone(),
        clock.clone(),
    )))
}

impl Vaultwarden {
    /// Creates a client and sends nothing yet. `store` keeps the session between runs.
    ///
    /// # Errors
    /// The token is empty or a hash, or the URL or the CA file cannot be used.
    pub fn new(
        settings: &ClientSettings,
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

    /// Uses other settings for every later call. The session is kept if the token is the one that opened it; otherwise
    /// the next call logs in.
    ///
    /// # Errors
    /// As [`Vaultwarden::new`]; the old settings stay in use.
    pub fn renew(&self, settings: &ClientSettings) -> Result<(), VaultwardenError> {
        let session = open(settings, &self.store, &self.clock)?;
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
        Ok(())
    }

    fn session(&self) -> Arc<AdminSession> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    /// Vaultwarden's version. `None` before 1.25, and for builds that do not know their version.
    ///
    /// # Errors
    /// There is no answer, or it is not Vaultwarden's.
    pub async fn version(&self) -> Result<Option<String>, VaultwardenError> {
        Ok(self.session().version().await?.map(|(text, _)| text))
    }

    /// The public information of the server (`/api/config`). `None` before 1.26, and if it is not a Vaultwarden.
    ///
    /// # Errors
    /// There is no answer, or it is not Vaultwarden's.
    pub async fn server_info(&self) -> Result<Option<ServerInfo>, VaultwardenError> {
        let mut answer = self
            .session()
            .client()
            .send(Call::Config, None)
            .await?
            .checked()?;
        match answer.status {
            200 => Ok(decode::server_info(&answer.body().await?)),
            _ => Ok(None),
        }
    }

    /// Vaultwarden's own configuration. `None` before 1.19, and if a proxy blocks the path.
    ///
    /// # Errors
    /// There is no answer, or it is not Vaultwarden's.
    pub async fn configuration(&self) -> Result<Option<Configuration>, VaultwardenError> {
        self.session().configuration().await
    }

    /// How the admin API authenticated the last call that was answered.
    pub async fn auth_method(&self) -> AuthMethod {
        self.session().auth_method().await
    }

    async fn send_invitation(&self, address: &EmailAddress) -> Result<Invitation, VaultwardenError> {
        let mut answer = self.session().call(Call::Invite(address)).await?;
        let status = answer.status;
        match status {
            200 => {
                let body = answer.body().await?;
                // The body is empty up to 1.20.
                if body.is_empty() || decode::is_object(&body) {
                    Ok(Invitation {
                        outcome: Outcome::Invited,
                        account: decode::account(&body)
                            .map(|account| account.id)
                            .filter(|id| account::is_id(id)),
                    })
                } else {
                    Err(answer.foreign_page())
                }
            }
            409 => Ok(had_account(None)),
            400 | 500 => {
                let message = answer.message.as_deref().unwrap_or_default();
                // A concurrent invitation may have created the account, and 1.20 creates it before it sends the mail.
                if refusal::has_account(message) {
                    return Ok(had_account(None));
                }
                if let Ok(Some(account)) = self.find(address).await {
                    return Ok(had_account(Some(account.id)));
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

    async fn send_change(&self, id: &str, change: AccountChange) -> Result<Changed, VaultwardenError> {
        check_id(id)?;
        let answer = self.session().call(Call::Change(id, change)).await;
        let mut answer = answer.map_err(|error| match error {
            VaultwardenError::Blocked { url, status } => VaultwardenError::NoEndpoint {
                url,
                status,
                since: change.since(),
            },
            other => other,
        })?;
        let message = answer.message.clone().unwrap_or_default();
        let status = answer.status;
        match status {
            200 if answer.body().await?.is_empty() => Ok(Changed::Done),
            // No version says more.
            200 => Err(answer.foreign_page()),
            404 if !message.is_empty() => Ok(Changed::NoAccount),
            400 if message.is_empty() => Err(answer.strange_status("a change of an account")),
            400 | 500 => match self.find_by_id(id).await? {
                // Up to 1.20 the status is 400 if there is no account.
                None => Ok(Changed::NoAccount),
                Some(account) if change == AccountChange::Resend && !account.invited => {
                    Ok(Changed::AlreadyRegistered)
                }
                Some(account) => Err(self.not_changed(&answer, account, change, status, message)),
            },
            _ => Err(answer.strange_status("a change of an account")),
        }
    }

    /// The error for a change of `account` that was answered with `status` and `message`.
    fn not_changed(
        &self,
        answer: &Answer,
        account: Account,
        change: AccountChange,
        status: u16,
        message: String,
    ) -> VaultwardenError {
        if let Some(reason) = refusal::declined(&message) {
            return VaultwardenError::Declined {
                account: account.id,
                rejection: reason.into(),
            };
        }
        match EmailAddress::parse(account.email.as_bytes()) {
            // Only this change sends mail.
            Ok(address) if change == AccountChange::Resend => {
                refusal::classify(self.session().client().url(), &address, status, &message)
            }
            _ => VaultwardenError::NotChanged {
                url: answer.url(),
                message: if message.is_empty() {
                    format!("status {status}")
                } else {
                    message
                },
            },
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
            // Versions before 1.28 have no look-up by address, only the list.
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

    /// Tells an outage from a list that alone fails: the error is `NoList` if Vaultwarden answers other calls. It builds
    /// the whole list before it answers, which takes longer than some proxies wait.
    async fn explain_no_list(&self, error: VaultwardenError) -> Result<Account, VaultwardenError> {
        let Some((url, cause)) = error.of_one_call() else {
            return Err(error);
        };
        Err(match self.session().alive().await {
            Ok(()) => VaultwardenError::NoList { url, cause },
            Err(_) => error,
        })
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<Account>, VaultwardenError> {
        check_id(id)?;
        let mut answer = self.session().call(Call::ById(id)).await?;
        match answer.status {
            200 => match decode::account(&answer.body().await?) {
                Some(account) => Ok(Some(account)),
                None => Err(answer.unexpected("something that is not an account")),
            },
            // The status is 400 up to 1.20.
            400 | 404 if answer.message.is_some() => Ok(None),
            _ => Err(answer.strange_status("a look-up")),
        }
    }

    async fn compare(&self, known: &Identity) -> Result<Recognition, VaultwardenError> {
        let mut left = known.clone();
        let mut gone = Vec::new();
        for id in &known.accounts {
            if self.find_by_id(id).await?.is_none() {
                gone.push(id);
            } else if gone.is_empty() && known.is_full() {
                // The usual case: one look-up.
                return Ok(Recognition::Same(left));
            }
        }
        left.accounts.retain(|id| !gone.contains(&id));
        let listed = identity::compare(self.list(), known).await;
        let mut recognition = match listed {
            // One account that still exists is enough if there is no list.
            Err(VaultwardenError::NoList { .. }) if !left.is_empty() => return Ok(Recognition::Same(left)),
            other => other?,
        };
        let info = self.server_info().await.ok().flatten();
        let (Recognition::First(noted) | Recognition::Same(noted) | Recognition::Other(noted)) =
            &mut recognition;
        noted.domain = info.and_then(|info| info.domain);
        Ok(recognition)
    }
}

fn had_account(account: Option<String>) -> Invitation {
    Invitation {
        outcome: Outcome::HadAccount,
        account,
    }
}

/// Checks that `id` may become part of a URL.
fn check_id(id: &str) -> Result<(), VaultwardenError> {
    if account::is_id(id) {
        return Ok(());
    }
    Err(VaultwardenError::Declined {
        account: foreign::shown(id),
        rejection:
            "has an id that is not a UUID, which no Vaultwarden issues; look it up again by its address"
                .into(),
    })
}

/// The accounts of a list, while it arrives. Objects without an address are not accounts and are skipped.
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
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Invitation> {
        self.send_invitation(address).boxed()
    }

    fn change<'a>(&'a self, account: &'a str, change: AccountChange) -> Reply<'a, Changed> {
        self.send_change(account, change).boxed()
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        self.find(address).boxed()
    }

    fn account_by_id<'a>(&'a self, id: &'a str) -> Reply<'a, Option<Account>> {
        self.find_by_id(id).boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        self.list()
    }

    fn sends_mail(&self) -> Reply<'_, Option<bool>> {
        async {
            let configuration = self.configuration().await?;
            Ok(configuration.and_then(|configuration| configuration.mail))
        }
        .boxed()
    }

    fn alive(&self) -> Reply<'_, ()> {
        async { self.session().alive().await }.boxed()
    }

    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        self.compare(known).boxed()
    }
}
