//! A stand-in for Vaultwarden's admin API, on a port of its own: what the real one (1.37.2, read and run) answers,
//! with accounts, sessions, a login limiter, the differences between versions, and faults on demand.
//!
//! It runs on a thread and a runtime of its own, so that it may be stopped dead (every connection breaks, as after
//! `kill -9`) and started again on the same port with the same accounts. It depends on nothing else in the tests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response, header};
use serde_json::{Value, json};
use tokio::sync::watch;

/// How the stand-in is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The version to speak as, (major, minor).
    pub version: (u32, u32),
    /// `ADMIN_TOKEN`; `None` switches the admin page off.
    pub token: Option<String>,
    /// The path of `DOMAIN`: `""`, or for example `"/vault"`.
    pub sub_path: String,
    /// `ADMIN_RATELIMIT_MAX_BURST` and `ADMIN_RATELIMIT_SECONDS`; `None` for no limiter.
    pub limiter: Option<(u32, Duration)>,
    /// `ADMIN_SESSION_LIFETIME`.
    pub session: Duration,
    /// `DISABLE_ADMIN_TOKEN`: everyone is an admin, and no login succeeds.
    pub open: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            version: (1, 37),
            token: Some("sesame".into()),
            sub_path: String::new(),
            limiter: Some((3, Duration::from_secs(300))),
            session: Duration::from_secs(20 * 60),
            open: false,
        }
    }
}

/// Which calls a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// `POST /admin`.
    Login,
    /// `POST /admin/invite`.
    Invite,
    /// `GET /admin/users`.
    List,
    /// `GET /admin/users/by-mail/..`.
    ByMail,
    /// Everything.
    All,
}

/// What goes wrong. Faults at a [`Moment`] are for invitations.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An error of Vaultwarden's own, with its JSON.
    Error(u16, &'static str),
    /// A page with this status, as a proxy or a foreign site would send it.
    Page(u16),
    /// A redirect to somewhere else.
    Redirect(&'static str),
    /// 401, as if the session were not known.
    SessionLost,
    /// The answer comes later.
    Delay(Duration),
    /// The answer begins, and breaks off in the middle.
    Truncate,
    /// The request is held at this moment until [`StandIn::release`].
    Hold(Moment),
    /// The connection breaks at this moment, without an answer.
    Drop(Moment),
}

impl Fault {
    fn comes_from_outside(&self) -> bool {
        matches!(
            self,
            Self::Page(_) | Self::Redirect(_) | Self::SessionLost | Self::Delay(_)
        )
    }
}

/// A point on an invitation's way through Vaultwarden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened.
    Arrived,
    /// The mail is out, and the account does not exist.
    Mailed,
    /// The account exists, and nobody was told.
    Saved,
}

/// One request that came in.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it came in.
    pub at: Instant,
    /// `POST /admin/invite`.
    pub what: String,
    /// Whom an invitation is for.
    pub address: Option<String>,
    /// The session that it brought.
    pub cookie: Option<String>,
    /// The status that it was answered with; `None` while it is not, or where the connection broke.
    pub status: Option<u16>,
    /// When it was answered, or would have been.
    pub ended: Option<Instant>,
}

/// The stand-in. Stops when dropped.
pub struct StandIn {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<(watch::Sender<()>, JoinHandle<()>)>,
}

struct Shared {
    setup: Setup,
    world: Mutex<World>,
    /// Rings whenever the world has changed.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct World {
    accounts: BTreeMap<String, Account>,
    invited: Vec<String>,
    mailed: Vec<String>,
    calls: Vec<Call>,
    sessions: BTreeMap<String, Instant>,
    /// Every session ever opened, for serial numbers.
    opened: usize,
    logins: usize,
    limiter: Option<Instant>,
    faults: Vec<Injected>,
    held: usize,
    released: u64,
}

struct Account {
    id: usize,
    invited: bool,
    enabled: bool,
}

struct Injected {
    on: On,
    address: Option<String>,
    times: usize,
    fault: Fault,
}

impl StandIn {
    /// Vaultwarden 1.37 with the token `sesame`.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// As told.
    pub fn with(setup: Setup) -> Self {
        let mut stand_in = Self {
            shared: Arc::new(Shared {
                setup,
                world: Mutex::default(),
                changed: watch::channel(()).0,
            }),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            thread: None,
        };
        stand_in.up();
        stand_in
    }

    /// Where it is, sub-path included.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.shared.setup.sub_path)
    }

    /// Listens again, on the same port and with the same accounts and sessions.
    pub fn up(&mut self) {
        self.down();
        let listener = StdListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, mut stopped) = watch::channel(());
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            // What is in flight dies with the runtime.
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let app = axum::Router::new().fallback(answer).with_state(shared);
                tokio::select! {
                    served = axum::serve(listener, app) => served.unwrap(),
                    _ = stopped.changed() => {}
                }
            });
        });
        self.thread = Some((stop, thread));
    }

    /// Dies: connections break, new ones are refused.
    pub fn down(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            thread.join().unwrap();
            self.shared.world().held = 0;
        }
    }

    // -- what has happened --------------------------------------------------------------------------------------

    /// The addresses of successful invitations, in order.
    pub fn invited(&self) -> Vec<String> {
        self.shared.world().invited.clone()
    }

    /// The addresses to which an invitation was mailed, in order; there is no account for each of them.
    pub fn mailed(&self) -> Vec<String> {
        self.shared.world().mailed.clone()
    }

    /// How many logins were tried.
    pub fn logins(&self) -> usize {
        self.shared.world().logins
    }

    /// Every request, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.world().calls.clone()
    }

    /// How many requests of a kind there were, such as `GET /admin/users`.
    pub fn count(&self, what: &str) -> usize {
        self.shared
            .world()
            .calls
            .iter()
            .filter(|call| call.what == what)
            .count()
    }

    /// How many invitations of an address came in with a session.
    pub fn attempts(&self, address: &str) -> usize {
        let world = self.shared.world();
        let attempts = world.calls.iter().filter(|call| {
            call.what.ends_with("/admin/invite")
                && call.address.as_deref() == Some(address)
                && call.status != Some(401)
        });
        attempts.count()
    }

    /// Waits until an address was invited with success; `false` if that takes too long.
    pub async fn wait_for_invite(&self, address: &str, limit: Duration) -> bool {
        self.wait(limit, |world| {
            world.invited.iter().any(|invited| invited == address)
        })
        .await
    }

    /// Waits until so many requests are held; `false` if that takes too long.
    pub async fn wait_until_held(&self, count: usize, limit: Duration) -> bool {
        self.wait(limit, |world| world.held == count).await
    }

    async fn wait(&self, limit: Duration, until: impl Fn(&World) -> bool) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let waiting = async {
            while !until(&self.shared.world()) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }

    // -- what is to happen --------------------------------------------------------------------------------------

    /// Creates accounts of people who have registered.
    pub fn preload<A: AsRef<str>>(&self, addresses: impl IntoIterator<Item = A>) {
        let mut world = self.shared.world();
        for address in addresses {
            world.save(&address.as_ref().to_lowercase(), false);
        }
    }

    /// Disables an account.
    pub fn disable(&self, address: &str) {
        self.shared.world().accounts.get_mut(address).unwrap().enabled = false;
    }

    /// Lets the next `times` calls of a kind fail; with an address, only those that are about it. What happens inside
    /// Vaultwarden happens only to calls with a session.
    pub fn fail(&self, on: On, address: Option<&str>, times: usize, fault: Fault) {
        self.shared.world().faults.push(Injected {
            on,
            address: address.map(Into::into),
            times,
            fault,
        });
    }

    /// Takes back all faults.
    pub fn heal(&self) {
        self.shared.world().faults.clear();
    }

    /// Lets go of every request that is held.
    pub fn release(&self) {
        self.shared.world().released += 1;
        self.shared.changed.send_replace(());
    }

    /// Forgets all sessions, as a Vaultwarden does that starts with a new key.
    pub fn forget_sessions(&self) {
        self.shared.world().sessions.clear();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.down();
    }
}

// -- the server ---------------------------------------------------------------------------------------------------

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
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
    // As in Vaultwarden, what was begun is finished, whether or not the client still waits for it.
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
        // Unwinds the connection's task without a word; the socket closes.
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

struct Incoming {
    method: Method,
    path: String,
    what: String,
    accepts_json: bool,
    sends_json: bool,
    cookie: Option<String>,
    body: Bytes,
}

impl Incoming {
    /// The address in the body of an invitation.
    fn invitee(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["email"].as_str()?.to_lowercase())
    }

    fn token(&self) -> Option<String> {
        let body = std::str::from_utf8(&self.body).ok()?;
        let token = body.split('&').find_map(|field| field.strip_prefix("token="))?;
        Some(unescape(&token.replace('+', " ")))
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn record(&self, request: &Incoming) -> usize {
        let mut world = self.world();
        world.calls.push(Call {
            at: Instant::now(),
            what: request.what.clone(),
            address: request.invitee(),
            cookie: request.cookie.clone(),
            status: None,
            ended: None,
        });
        world.calls.len() - 1
    }

    async fn serve(&self, request: &Incoming) -> Response<Body> {
        let Some(path) = request.path.strip_prefix(&self.setup.sub_path) else {
            return rocket_error(404, request);
        };
        let by_mail = path
            .strip_prefix("/admin/users/by-mail/")
            .map(|mail| unescape(mail).to_lowercase());
        let (on, about) = match (&request.method, path.trim_end_matches('/')) {
            (&Method::POST, "/admin") => (On::Login, None),
            (&Method::POST, "/admin/invite") => (On::Invite, request.invitee()),
            (&Method::GET, "/admin/users") => (On::List, None),
            (&Method::GET, _) if by_mail.is_some() => (On::ByMail, by_mail),
            _ => (On::All, None),
        };
        // Nobody gets far enough for a fault inside Vaultwarden who is turned away at the door.
        let admitted = match on {
            On::Invite | On::List | On::ByMail => self.guard(request).is_none(),
            On::Login | On::All => true,
        };
        let fault = self.world().fault(on, about.as_deref(), admitted);
        match &fault {
            Some(Fault::Error(status, message)) => return error(*status, message),
            Some(Fault::Page(status)) => return page(*status, "Please log in"),
            Some(Fault::Redirect(to)) => return redirect(to),
            Some(Fault::SessionLost) => return error(401, "Authorization failed."),
            Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
            _ => {}
        }
        let response = match on {
            On::Login => self.log_in(request),
            On::Invite => self.invite(request, fault.as_ref()).await,
            On::List => self.list(request),
            On::ByMail => self.by_mail(request, &about.unwrap_or_default()),
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
            ("GET", "/admin") if self.setup.token.is_none() => plain(
                200,
                "The admin panel is disabled, please configure the 'ADMIN_TOKEN' variable to enable it",
            ),
            ("GET", "/admin") => page(200, "Vaultwarden Admin Panel: log in"),
            _ => rocket_error(404, request),
        }
    }

    fn log_in(&self, request: &Incoming) -> Response<Body> {
        let mut world = self.world();
        world.logins += 1;
        let Some(expected) = &self.setup.token else {
            return rocket_error(404, request);
        };
        let old = self.setup.version < (1, 26);
        let admin = format!("{}/admin", self.setup.sub_path);
        if let Some((burst, period)) = self.setup.limiter
            && !world.allows_login(burst, period)
        {
            return if old {
                redirect(&admin)
            } else {
                page(429, "Error: Too many requests, try again later.")
            };
        }
        if self.setup.open || request.token().as_deref().map(str::trim) != Some(expected.trim()) {
            return if old {
                redirect(&admin)
            } else {
                page(401, "Error: Invalid admin token, please try again.")
            };
        }
        let jwt = world.open_session(self.setup.session);
        let mut response = if old {
            redirect(&admin)
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

    /// What a call without a session gets.
    fn guard(&self, request: &Incoming) -> Option<Response<Body>> {
        if self.setup.token.is_none() && !self.setup.open {
            return Some(rocket_error(404, request));
        }
        let session = request
            .cookie
            .as_ref()
            .and_then(|jwt| self.world().sessions.get(jwt).copied());
        if self.setup.open || session.is_some_and(|expires| Instant::now() < expires) {
            None
        } else if self.setup.version < (1, 27) {
            Some(rocket_error(404, request))
        } else if request.accepts_json {
            Some(error(401, "Authorization failed."))
        } else {
            Some(page(401, "Vaultwarden Admin Panel: log in"))
        }
    }

    /// As in Vaultwarden: is there an account? Mail. Save. Two at once both send their mail, and one fails to save.
    async fn invite(&self, request: &Incoming, fault: Option<&Fault>) -> Response<Body> {
        if self.setup.version >= (1, 33) && !request.sends_json {
            return rocket_error(404, request);
        }
        if let Some(refusal) = self.guard(request) {
            return refusal;
        }
        let Some(address) = request.invitee() else {
            return rocket_error(422, request);
        };
        let oldest = self.setup.version <= (1, 20);
        self.moment(Moment::Arrived, fault).await;
        if self.world().accounts.contains_key(&address) {
            return error(if oldest { 400 } else { 409 }, "User already exists");
        }
        if !address.contains('@') {
            return error(
                500,
                &format!("Invitation email {address} is not a valid email address"),
            );
        }
        self.world().mailed.push(address.clone());
        self.moment(Moment::Mailed, fault).await;
        {
            let mut world = self.world();
            if world.accounts.contains_key(&address) {
                return error(500, "Error saving user");
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

    async fn moment(&self, now: Moment, fault: Option<&Fault>) {
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
            return rocket_error(404, request);
        }
        if let Some(refusal) = self.guard(request) {
            return refusal;
        }
        match self.world().accounts.get(address) {
            Some(account) => json_answer(200, &self.account(address, account, true)),
            None => error(404, "User doesn't exist"),
        }
    }

    fn account(&self, address: &str, account: &Account, in_full: bool) -> Value {
        let mut object = json!({
            "_status": i32::from(account.invited),
            "id": format!("63efca19-3103-4a59-8531-{:012x}", account.id),
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
            object["createdAt"] = json!("2026-01-01 00:00:00 +00:00");
        }
        if self.setup.version < (1, 31) {
            pascal_case(object)
        } else {
            object
        }
    }
}

impl World {
    fn save(&mut self, address: &str, invited: bool) {
        let account = Account {
            id: self.accounts.len() + 1,
            invited,
            enabled: true,
        };
        self.accounts.insert(address.into(), account);
    }

    fn fault(&mut self, on: On, about: Option<&str>, admitted: bool) -> Option<Fault> {
        let injected = self.faults.iter_mut().find(|injected| {
            injected.times > 0
                && (admitted || injected.fault.comes_from_outside())
                && (injected.on == on || injected.on == On::All)
                && (injected.address.is_none() || injected.address.as_deref() == about)
        })?;
        injected.times -= 1;
        Some(injected.fault.clone())
    }

    /// Vaultwarden's limiter, the crate `governor`: the moment at which the whole burst is free again moves on by
    /// one period with each login, and may lie ahead by no more than the burst.
    fn allows_login(&mut self, burst: u32, period: Duration) -> bool {
        let now = Instant::now();
        let whole_at = self.limiter.map_or(now, |at| at.max(now));
        let allowed = whole_at - now <= period * (burst - 1);
        if allowed {
            self.limiter = Some(whole_at + period);
        }
        allowed
    }

    fn open_session(&mut self, lifetime: Duration) -> String {
        self.opened += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let claims = json!({
            "nbf": now.as_secs(),
            "exp": (now + lifetime).as_secs(),
            "iss": "http://localhost|admin",
            "sub": "admin_panel",
        });
        // The header is {"typ":"JWT","alg":"RS256"}; instead of a signature there is a serial number.
        let jwt = format!(
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.{}.session-{}",
            base64url(claims.to_string().as_bytes()),
            self.opened
        );
        self.sessions.insert(jwt.clone(), Instant::now() + lifetime);
        jwt
    }
}

// -- answers ------------------------------------------------------------------------------------------------------

fn respond(status: u16, kind: &str, body: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(body.into())
        .unwrap()
}

fn json_answer(status: u16, body: &Value) -> Response<Body> {
    respond(status, "application/json", body.to_string())
}

fn plain(status: u16, body: &str) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", body.into())
}

fn page(status: u16, title: &str) -> Response<Body> {
    let body = format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head></html>");
    respond(status, "text/html; charset=utf-8", body)
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = plain(303, "");
    response
        .headers_mut()
        .insert(header::LOCATION, to.parse().unwrap());
    response
}

/// An error of Vaultwarden's own.
fn error(status: u16, message: &str) -> Response<Body> {
    let body = json!({
        "message": message,
        "validationErrors": {"": [message]},
        "errorModel": {"message": message, "object": "error"},
        "error": "",
        "error_description": "",
        "exceptionMessage": null,
        "exceptionStackTrace": null,
        "innerExceptionMessage": null,
        "object": "error",
    });
    json_answer(status, &body)
}

/// An error of the web framework's: no such route, or a body that does not fit.
fn rocket_error(status: u16, request: &Incoming) -> Response<Body> {
    if request.accepts_json {
        json_answer(
            status,
            &json!({"error": {"code": status, "reason": "..", "description": ".."}}),
        )
    } else {
        page(status, &format!("{status}"))
    }
}

/// The first half of an answer, and then no more.
async fn truncate(response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let half = body.slice(..body.len() / 2);
    let pieces = futures::stream::iter([Ok(half), Err(std::io::Error::other("the connection breaks"))]);
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// As every version before 1.31 spelled its keys.
fn pascal_case(object: Value) -> Value {
    let Value::Object(object) = object else {
        return object;
    };
    let spell = |key: String| {
        let at = key.find(|c: char| c != '_').unwrap_or(0);
        format!("{}{}{}", &key[..at], key[at..=at].to_uppercase(), &key[at + 1..])
    };
    object
        .into_iter()
        .map(|(key, value)| (spell(key), value))
        .collect()
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = if byte.is_some() { &tail[2..] } else { tail };
        bytes.push(byte.unwrap_or(*first));
    }
    String::from_utf8_lossy(&bytes).into()
}

/// RFC 4648, 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}
