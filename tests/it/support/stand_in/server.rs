//! The server of the stand-in.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response, header};
use ldap_usher::clock::Timestamp;
use ring::hmac;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, watch};

use super::answers::{
    error, json_answer, page, pascal_case, plain, redirect, rocket_error, truncate, unescape,
};
use super::changes;
use super::world::{Account, World};
use super::{Call, Fault, Moment, On, Setup, toil};

/// The login form of the open pull request, which does not say what was wrong.
const CODE_FORM: &str =
    "<form><input name=\"token\"><input name=\"totp\"></form> Invalid credentials, please try again.";

/// The state that all connections share.
pub(super) struct Shared {
    pub(super) setup: Setup,
    pub(super) world: Mutex<World>,
    /// The permits for concurrent work.
    pub(super) workers: Semaphore,
    /// Notified at each change of the world.
    pub(super) changed: watch::Sender<()>,
}

pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let request = Incoming {
        what: format!("{} {}", parts.method, parts.uri.path()),
        accepts_json: text(header::ACCEPT).is_some_and(|kinds| kinds.contains("application/json")),
        sends_json: text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json")),
        cookie: text(header::COOKIE)
            .and_then(|cookies| cookies.split("; ").find_map(|one| one.strip_prefix("VW_ADMIN=")))
            .map(Into::into),
        path: parts.uri.path().into(),
        method: parts.method,
        body,
    };
    let number = shared.record(&request);
    // As in Vaultwarden, a request is completed even if the client no longer waits for it.
    let serving = tokio::task::spawn(async move {
        let response = shared.serve(&request).await;
        {
            let mut world = shared.world();
            world.calls[number].status = Some(response.status().as_u16());
            world.calls[number].ended = Some(Instant::now());
        }
        shared.changed.send_replace(());
        response
    });
    match serving.await {
        Ok(response) => response,
        // Ends the task of the connection without a panic message; the socket closes.
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

pub(super) struct Incoming {
    method: Method,
    path: String,
    what: String,
    pub(super) accepts_json: bool,
    pub(super) sends_json: bool,
    cookie: Option<String>,
    body: Bytes,
}

impl Incoming {
    /// The address in the body of an invitation.
    fn invitee(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["email"].as_str()?.to_lowercase())
    }

    /// A field of a form.
    fn field(&self, name: &str) -> Option<String> {
        let body = std::str::from_utf8(&self.body).ok()?;
        let mut fields = body.split('&').filter_map(|field| field.split_once('='));
        let (_, value) = fields.find(|(found, _)| *found == name)?;
        Some(unescape(&value.replace('+', " ")))
    }
}

/// The code of a step (RFC 6238).
pub fn one_time_code(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let hash = hmac::sign(&key, &step.to_be_bytes());
    let hash = hash.as_ref();
    let at = usize::from(hash[19] & 15);
    let number = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

impl Shared {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn record(&self, request: &Incoming) -> usize {
        let path = request
            .path
            .strip_prefix(&self.setup.sub_path)
            .unwrap_or_default();
        let changed = changes::parse(path).and_then(|(id, _)| self.address_of(id));
        let mut world = self.world();
        world.calls.push(Call {
            at: Instant::now(),
            what: request.what.clone(),
            address: changed.or_else(|| request.invitee()),
            cookie: request.cookie.clone(),
            status: None,
            ended: None,
        });
        world.calls.len() - 1
    }

    async fn serve(&self, request: &Incoming) -> Response<Body> {
        let Some(path) = request.path.strip_prefix(&self.setup.sub_path) else {
            return rocket_error(404, request.accepts_json);
        };
        let by_mail = path
            .strip_prefix("/admin/users/by-mail/")
            .map(|mail| unescape(mail).to_lowercase());
        let change = changes::parse(path);
        let (on, about) = match (&request.method, path.trim_end_matches('/')) {
            (&Method::POST, "/admin") => (On::Login, None),
            (&Method::POST, "/admin/invite") => (On::Invite, request.invitee()),
            (&Method::GET, "/admin/users") => (On::List, None),
            (&Method::GET, "/admin/diagnostics/config") => (On::Configuration, None),
            (&Method::GET, _) if by_mail.is_some() => (On::ByMail, by_mail),
            (&Method::GET, other) if other.starts_with("/admin/users/") => (On::ById, None),
            (&Method::POST, _) if let Some((id, what)) = change => (On::Change(what), self.address_of(id)),
            _ => (On::All, None),
        };
        // Faults inside Vaultwarden need a session.
        let admitted = match on {
            On::Invite | On::List | On::ByMail | On::ById | On::Change(_) | On::Configuration => {
                self.guard(request).is_none()
            }
            On::Login | On::All => true,
        };
        let fault = self.world().fault(on, about.as_deref(), admitted);
        match &fault {
            Some(Fault::Error(status, message)) => return self.error(*status, message),
            Some(Fault::Page(status)) => return page(*status, "Please log in"),
            Some(Fault::Redirect(to)) => return redirect(to),
            Some(Fault::SessionLost) => return self.error(401, "Authorization failed."),
            Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
            _ => {}
        }
        let response = match on {
            On::Login => self.log_in(request),
            On::Invite => self.invite(request, fault.as_ref()).await,
            On::List => self.list(request),
            On::ByMail => self.by_mail(request, &about.unwrap_or_default()),
            On::ById => self.by_id(request, path.rsplit('/').next().unwrap_or_default()),
            On::Change(what) => {
                let id = change.map_or("", |(id, _)| id);
                self.change(request, id, what, fault.as_ref()).await
            }
            On::Configuration => self.configuration(request),
            On::All => self.other(request, path),
        };
        match fault {
            Some(Fault::Truncate) => truncate(response).await,
            _ => response,
        }
    }

    fn other(&self, request: &Incoming, path: &str) -> Response<Body> {
        match (request.method.as_str(), path) {
            ("GET", "/alive") => json_answer(200, &json!("2026-01-01T00:00:00.000000Z")),
            ("GET", "/api/version") if self.setup.version >= (1, 25) => {
                let (major, minor) = self.setup.version;
                json_answer(200, &json!(format!("{major}.{minor}.0")))
            }
            ("GET", "/api/config") if self.setup.version >= (1, 26) => json_answer(
                200,
                &json!({
                    "version": "2025.12.0",
                    "server": {"name": "Vaultwarden", "url": "https://github.com/dani-garcia/vaultwarden"},
                    "settings": {"disableUserRegistration": false},
                    "environment": {"vault": format!("{}{}", self.setup.domain, self.setup.sub_path)},
                    "object": "config",
                }),
            ),
            ("GET", "/admin") if self.setup.token.is_none() => plain(
                200,
                "The admin panel is disabled, please configure the 'ADMIN_TOKEN' variable to enable it",
            ),
            ("GET", "/admin") => page(200, "Vaultwarden Admin Panel: log in"),
            _ => rocket_error(404, request.accepts_json),
        }
    }

    fn log_in(&self, request: &Incoming) -> Response<Body> {
        let mut world = self.world();
        world.logins += 1;
        let Some(expected) = &self.setup.token else {
            return rocket_error(404, request.accepts_json);
        };
        let old = self.setup.version < (1, 26);
        let admin = format!("{}/admin", self.setup.sub_path);
        // The path of DOMAIN, whatever path the call used.
        let admin_url = format!("{}{admin}", self.setup.domain);
        if let Some((burst, period)) = self.setup.limiter
            && !world.allows_login(burst, period)
        {
            return if old {
                redirect(&admin_url)
            } else {
                page(429, "Error: Too many requests, try again later.")
            };
        }
        if self.setup.open || request.field("token").as_deref().map(str::trim) != Some(expected.trim()) {
            return if self.setup.totp.is_some() {
                page(401, CODE_FORM)
            } else if old {
                redirect(&admin_url)
            } else {
                page(401, "Error: Invalid admin token, please try again.")
            };
        }
        // As the open pull request does: a step to either side, and none twice.
        if let Some(secret) = &self.setup.totp {
            let now = ldap_usher::clock::Clock::system().now().0 / 30_000;
            let code = request.field("totp");
            let step = (now - 1..=now + 1).find(|step| code.as_ref() == Some(&one_time_code(secret, *step)));
            match step.filter(|step| *step > world.totp_step) {
                Some(step) => world.totp_step = step,
                None => return page(401, CODE_FORM),
            }
        }
        let jwt = world.open_session(self.setup.session);
        let mut response = if old {
            redirect(&admin_url)
        } else {
            page(200, "Vaultwarden Admin Panel: settings")
        };
        let cookie = format!(
            "VW_ADMIN={jwt}; HttpOnly; SameSite=Strict; Path={admin}; Max-Age={}",
            self.setup.session.as_secs()
        );
        response
            .headers_mut()
            .insert(header::SET_COOKIE, cookie.parse().unwrap());
        response
    }

    /// The answer to a call without a session.
    pub(super) fn guard(&self, request: &Incoming) -> Option<Response<Body>> {
        if self.setup.token.is_none() && !self.setup.open {
            return Some(rocket_error(404, request.accepts_json));
        }
        let session = request
            .cookie
            .as_ref()
            .and_then(|jwt| self.world().sessions.get(jwt).copied());
        if self.setup.open || session.is_some_and(|expires| Instant::now() < expires) {
            None
        } else if self.setup.version < (1, 27) {
            Some(rocket_error(404, request.accepts_json))
        } else if request.accepts_json {
            Some(self.error(401, "Authorization failed."))
        } else {
            Some(page(401, "Vaultwarden Admin Panel: log in"))
        }
    }

    /// As Vaultwarden does: checks for an account, sends the mail, saves the account. Two concurrent requests both send
    /// their mail, and one fails to save.
    async fn invite(&self, request: &Incoming, fault: Option<&Fault>) -> Response<Body> {
        if self.setup.version >= (1, 33) && !request.sends_json {
            return rocket_error(404, request.accepts_json);
        }
        if let Some(refusal) = self.guard(request) {
            return refusal;
        }
        let Some(address) = request.invitee() else {
            return rocket_error(422, request.accepts_json);
        };
        let oldest = self.setup.version <= (1, 20);
        self.work().await;
        self.moment(Moment::Arrived, fault).await;
        if self.world().accounts.contains_key(&address) {
            return self.error(if oldest { 400 } else { 409 }, "User already exists");
        }
        if !address.contains('@') {
            return self.error(
                500,
                &format!("Invitation email {address} is not a valid email address"),
            );
        }
        if self.setup.mail {
            self.world().mailed.push(address.clone());
        }
        self.moment(Moment::Mailed, fault).await;
        {
            let mut world = self.world();
            if world.accounts.contains_key(&address) {
                return self.error(500, "Error saving user");
            }
            world.save(&address, true);
            world.invited.push(address.clone());
        }
        self.changed.send_replace(());
        self.moment(Moment::Saved, fault).await;
        if oldest {
            return plain(200, "");
        }
        let world = self.world();
        json_answer(200, &self.account(&address, &world.accounts[&address], false))
    }

    async fn work(&self) {
        if let Some((rounds, _)) = self.setup.work {
            let _place = self.workers.acquire().await.unwrap();
            tokio::task::spawn_blocking(move || toil(rounds)).await.unwrap();
        }
    }

    pub(super) fn error(&self, status: u16, message: &str) -> Response<Body> {
        error(self.setup.version, status, message)
    }

    pub(super) async fn moment(&self, now: Moment, fault: Option<&Fault>) {
        match fault {
            Some(Fault::Drop(moment)) if *moment == now => {
                std::panic::resume_unwind(Box::new("the connection breaks"));
            }
            Some(Fault::Hold(moment)) if *moment == now => {
                let mut changed = self.changed.subscribe();
                let before = {
                    let mut world = self.world();
                    world.held += 1;
                    world.released
                };
                self.changed.send_replace(());
                while self.world().released == before {
                    changed.changed().await.unwrap();
                }
                self.world().held -= 1;
                self.changed.send_replace(());
            }
            _ => {}
        }
    }

    fn list(&self, request: &Incoming) -> Response<Body> {
        if let Some(refusal) = self.guard(request) {
            return refusal;
        }
        let world = self.world();
        let accounts = world
            .accounts
            .iter()
            .map(|(address, account)| self.account(address, account, true));
        json_answer(200, &Value::Array(accounts.collect()))
    }

    fn by_mail(&self, request: &Incoming, address: &str) -> Response<Body> {
        if self.setup.version < (1, 28) {
            return rocket_error(404, request.accepts_json);
        }
        if let Some(refusal) = self.guard(request) {
            return refusal;
        }
        match self.world().accounts.get(address) {
            Some(account) => json_answer(200, &self.account(address, account, true)),
            None => self.error(404, "User doesn't exist"),
        }
    }

    fn by_id(&self, request: &Incoming, id: &str) -> Response<Body> {
        if let Some(refusal) = self.guard(request) {
            return refusal;
        }
        if self.setup.version >= (1, 33) && !changes::is_uuid(id) {
            return rocket_error(422, request.accepts_json);
        }
        let address = self.address_of(id);
        let world = self.world();
        match address.and_then(|address| world.accounts.get_key_value(&address)) {
            Some((address, account)) => json_answer(200, &self.account(address, account, true)),
            None => {
                let status = if self.setup.version <= (1, 20) { 400 } else { 404 };
                self.error(status, "User doesn't exist")
            }
        }
    }

    /// The part that this version reports.
    fn configuration(&self, request: &Incoming) -> Response<Body> {
        if self.setup.version < (1, 19) {
            return rocket_error(404, request.accepts_json);
        }
        if let Some(refusal) = self.guard(request) {
            return refusal;
        }
        let (burst, period) = self.setup.limiter.unwrap_or((1000, Duration::from_secs(1)));
        let keys = [
            (19, "domain", json!("*****://*****.*******.***")),
            (19, "admin_token", json!("***")),
            (19, "_enable_smtp", json!(true)),
            (
                19,
                "smtp_host",
                if self.setup.mail {
                    json!("*********")
                } else {
                    Value::Null
                },
            ),
            (19, "smtp_timeout", json!(15)),
            (19, "invitations_allowed", json!(true)),
            (19, "signups_allowed", json!(false)),
            (19, "signups_domains_whitelist", json!("")),
            (24, "admin_ratelimit_max_burst", json!(burst)),
            (24, "admin_ratelimit_seconds", json!(period.as_secs())),
            (26, "invitation_expiration_hours", json!(120)),
            (
                28,
                "admin_session_lifetime",
                json!(self.setup.session.as_secs() / 60),
            ),
            (28, "use_sendmail", json!(false)),
            (35, "sso_enabled", json!(false)),
            (35, "sso_only", json!(false)),
        ];
        let told = keys
            .into_iter()
            .filter(|(since, ..)| self.setup.version >= (1, *since));
        let mut told: Map<String, Value> = told.map(|(_, key, value)| (key.into(), value)).collect();
        let others = self.setup.told.iter();
        told.extend(others.map(|(key, value)| ((*key).to_owned(), value.clone())));
        json_answer(200, &Value::Object(told))
    }

    pub(super) fn id(&self, account: &Account) -> String {
        format!(
            "63efca19-3103-4a59-{:04x}-{:012x}",
            self.setup.accounts, account.id
        )
    }

    fn account(&self, address: &str, account: &Account, in_full: bool) -> Value {
        let age = account.created.duration_since(UNIX_EPOCH).unwrap();
        let created = Timestamp(i64::try_from(age.as_millis()).unwrap()).to_string();
        let mut object = json!({
            "_status": i32::from(account.invited),
            "id": self.id(account),
            "name": address,
            "email": address,
            "emailVerified": true,
            "twoFactorEnabled": false,
            "organizations": [],
            "securityStamp": "fe1be4f2-e9af-4284-a0a5-000000000000",
            "object": "profile",
        });
        if in_full && self.setup.version > (1, 25) {
            object["userEnabled"] = json!(account.enabled);
            // The time zone is that of TZ.
            let time = created.replace('T', " ").replace('Z', " +00:00");
            object["createdAt"] = json!(time);
        }
        // Since 1.32.3.
        if self.setup.version > (1, 32) {
            object["creationDate"] = json!(created.replace('Z', ".000000Z"));
        }
        if self.setup.version < (1, 31) {
            pascal_case(object)
        } else {
            object
        }
    }
}
