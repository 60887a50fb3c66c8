//! The status page: in a real browser, and asked by others than browsers.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Response, StatusCode};
use tokio::time::{Instant, timeout};

use crate::support::browser::{Browser, client};
use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, On};
use crate::support::world::{PATIENCE, World};

const TOKEN: &str = "correct horse battery staple";
const REFUSAL: Fault = Fault::Error(500, "SMTP 5xx error: permanent error (550): no such user");
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// A running service whose page has a token, with these people in its directory.
async fn world(people: usize, tables: &str) -> World {
    let mut world = World::with(Slapd::builder().people(people)).await.tables(tables);
    world.http = format!("admin_token = \"{TOKEN}\"");
    world.start().await;
    world
}

async fn url(world: &World) -> String {
    let line = world.says(&["answering /livez"], 1).await;
    let (_, address) = line.rsplit_once("address=").unwrap();
    format!("http://{}/", address.split_whitespace().next().unwrap())
}

async fn sign_in(browser: &Browser) {
    browser.write("//input[@name='token']", TOKEN).await;
    browser.click("//button[.='Sign in']").await;
    browser.shows("Sign out").await;
}

/// Somebody who asks without a browser.
struct Visitor {
    client: Client,
    url: String,
    cookie: String,
    csrf: String,
}

impl Visitor {
    async fn of(world: &World) -> Self {
        Self {
            client: client(),
            url: url(world).await,
            cookie: String::new(),
            csrf: String::new(),
        }
    }

    async fn get(&self, path: &str) -> Response {
        let asked = self.client.get(format!("{}{path}", self.url));
        asked.header(COOKIE, &self.cookie).send().await.unwrap()
    }

    async fn body(&self, path: &str) -> String {
        self.get(path).await.text().await.unwrap()
    }

    /// Sends a form as the page does, or as another site does.
    async fn send(&self, path: &str, origin: Option<&str>, fields: &[(&str, &str)]) -> Response {
        let mut asked = self.client.post(format!("{}{path}", self.url)).form(fields);
        if let Some(origin) = origin {
            asked = asked.header(ORIGIN, origin);
        }
        asked.header(COOKIE, &self.cookie).send().await.unwrap()
    }

    fn own(&self) -> Option<&str> {
        Some(self.url.trim_end_matches('/'))
    }

    async fn signs_in(&mut self) {
        let answer = self.send("sign-in", self.own(), &[("token", TOKEN)]).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap().clone_into(&mut self.cookie);
        let page = self.body("").await;
        let (_, after) = page.split_once("name=\"csrf\" value=\"").unwrap();
        after.split('"').next().unwrap().clone_into(&mut self.csrf);
    }
}

#[tokio::test]
async fn a_person_who_is_added_appears_at_once_and_nothing_is_said_to_the_console() {
    let world = world(3, "").await;
    world.tasks("done", 3).await;
    let browser = Browser::start().await;
    browser.open(&url(&world).await).await;
    browser.shows("Ready").await;
    browser.shows("Live").await;
    let text = browser.text().await;
    assert!(
        !text.contains('@') && text.contains("syncrepl") && text.contains("Connected"),
        "{text}"
    );
    sign_in(&browser).await;
    browser.shows("person1@example.org").await;
    browser.script("window.same = true").await;
    // Longer than one stream of events lasts: the browser opens the next one.
    tokio::time::sleep(Duration::from_secs(27)).await;
    world.people().add_person("ann").await;
    browser.shows("ann@example.org").await;
    browser.shows("invited, ").await;
    assert_eq!(
        browser.script("return window.same").await,
        true,
        "the page was loaded again"
    );
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn what_the_page_shows_stays_fresh_while_nothing_happens_and_it_says_when_nobody_answers() {
    let mut world = world(1, "").await;
    world.tasks("done", 1).await;
    let browser = Browser::start().await;
    browser.open(&url(&world).await).await;
    browser.shows("Live").await;
    browser
        .until("was read again without a change", async || {
            let again = "const live = document.getElementById('live');
                         const again = window.seen && window.seen !== live && window.seen.dataset.version === live.dataset.version;
                         window.seen = live;
                         return again";
            browser.script(again).await == true
        })
        .await;
    assert_eq!(browser.complaints().await, [""; 0]);
    world.stop().await;
    browser.shows("Not connected").await;
}

#[tokio::test]
async fn a_person_who_is_signed_in_decides_by_mouse_and_keyboard_and_the_journal_says_from_where() {
    let world = world(0, "[invite]\nhold = \"all\"").await;
    world.vault.fail(On::Invite, Some("eve@example.org"), 1, REFUSAL);
    let browser = Browser::start().await;
    browser.open(&url(&world).await).await;
    sign_in(&browser).await;
    for uid in ["ann", "bob", "eve"] {
        world.people().add_person(uid).await;
        browser.shows(&format!("{uid}@example.org")).await;
    }
    browser
        .click("//button[@aria-label='Approve: eve@example.org']")
        .await;
    browser.shows("1 approved.").await;
    browser.shows("In quarantine (1)").await;
    browser.shows("no such user").await;
    browser
        .click("//button[@aria-label='Retry: eve@example.org']")
        .await;
    browser.shows("1 will be tried again now.").await;
    assert!(world.vault.wait_for_invite("eve@example.org", PATIENCE).await);
    browser
        .click("//button[@aria-label='Discard: bob@example.org']")
        .await;
    browser.shows("1 discarded.").await;

    // Ann by keyboard alone.
    browser.open(&url(&world).await).await;
    browser.shows("Live").await;
    for _ in 0..40 {
        let focused = browser
            .script("return document.activeElement.getAttribute('aria-label')")
            .await;
        if focused == "Approve: ann@example.org" {
            break;
        }
        browser.keys(TAB).await;
    }
    browser.keys(ENTER).await;
    browser.shows("1 approved.").await;
    assert!(world.vault.wait_for_invite("ann@example.org", PATIENCE).await);

    browser.shows("Awaiting registration (2)").await;
    browser
        .click("//button[@aria-label='Remind: ann@example.org']")
        .await;
    browser.shows("A reminder is mailed").await;
    assert!(
        world
            .vault
            .wait_for_change("ann@example.org", "invite/resend", PATIENCE)
            .await
    );

    browser.write("//input[@id='who']", "ann@example.org").await;
    browser.click("//button[.='Find']").await;
    browser.shows("uid=ann,ou=people,dc=example,dc=org").await;
    browser
        .shows("asked on the status page, from 127.0.0.1, to approve the invitation")
        .await;
    browser.click("//button[.='Look up in the directory now']").await;
    browser.shows("The directory was asked.").await;
    browser
        .shows("asked on the status page, from 127.0.0.1, to look the person up")
        .await;
    // The story follows what happens, too.
    browser.script("window.same = true").await;
    world.people().delete("ann").await;
    browser.shows("left: the entry is gone").await;
    assert_eq!(browser.script("return window.same").await, true);
    assert_eq!(browser.complaints().await, [""; 0]);
    assert!(!world.vault.invited().contains(&"bob@example.org".to_owned()));

    let journal = world.ask(&["journal", "--json"]).await;
    let journal = String::from_utf8(journal.stdout).unwrap();
    for request in ["approve", "retry", "discard", "resend", "sync"] {
        let line = format!(r#""event":"requested","request":"{request}""#);
        assert!(journal.contains(&line), "{line} is not in\n{journal}");
    }
}

#[tokio::test]
async fn somebody_who_is_not_in_the_state_yet_is_looked_up_and_invited() {
    let world = world(0, "").await;
    let mut visitor = Visitor::of(&world).await;
    visitor.signs_in().await;
    world.people().add_person("ann").await;
    world.invites("ann").await;
    let csrf = visitor.csrf.clone();
    let order = |who: &'static str| {
        let fields = [
            ("csrf", csrf.clone()),
            ("order", "sync".into()),
            ("who", who.to_owned()),
        ];
        let visitor = &visitor;
        async move {
            let fields: Vec<(&str, &str)> = fields
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            assert_eq!(
                visitor.send("order", visitor.own(), &fields).await.status(),
                StatusCode::SEE_OTHER
            );
            visitor.body("").await
        }
    };
    let page = order("ann@example.org").await;
    assert!(page.contains("The directory was asked."), "{page}");
    let page = order("nobody@example.org").await;
    assert!(page.contains("no one is known by nobody@example.org"), "{page}");
    let page = order("<b>").await;
    assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"), "{page}");
    // Each order is in the journal, also one that found nobody.
    let journal = String::from_utf8(world.ask(&["journal", "--json"]).await.stdout).unwrap();
    for who in ["ann", "nobody"] {
        let asked = journal
            .lines()
            .filter(|line| line.contains("\"requested\"") && line.contains(&format!("{who}@example.org")));
        assert_eq!(asked.count(), 1, "{journal}");
    }
}

#[tokio::test]
async fn a_look_up_uses_what_the_service_knows_of_the_directory_and_its_password() {
    let slapd = Slapd::builder().tls().people(1);
    let mut world = World::with(slapd).await;
    let folder = tempfile::tempdir().unwrap();
    let (password, authority) = (folder.path().join("password"), folder.path().join("ca.pem"));
    std::fs::write(&password, world.server.reader_pw()).unwrap();
    std::fs::copy(world.server.ca_file(), &authority).unwrap();
    world.directory = format!(
        "[[directory]]\nurl = \"{}\"\nbind_dn = \"{}\"\nbind_password_file = {password:?}\nbase_dn = \"{}\"\nca_file = {authority:?}\n",
        world.server.ldaps_url(),
        world.server.reader_dn(),
        world.server.people_base(),
    );
    world.http = format!("admin_token = \"{TOKEN}\"");
    world.start().await;
    let mut visitor = Visitor::of(&world).await;
    visitor.signs_in().await;

    // Another password, of which nobody tells the service.
    let reader = world.server.reader_dn();
    world.people().set_password(reader, "another-one").await;
    std::fs::write(&password, "another-one").unwrap();
    let refused = |world: &World| world.server.log().matches("tag=97 err=49").count();
    for _ in 0..3 {
        let csrf = visitor.csrf.clone();
        let fields = [
            ("csrf", csrf.as_str()),
            ("order", "sync"),
            ("who", "person1@example.org"),
        ];
        visitor.send("order", visitor.own(), &fields).await;
        let page = visitor.body("").await;
        assert!(page.contains("The directory was asked."), "{page}");
    }
    assert_eq!(
        refused(&world),
        1,
        "the password that the service has read again is used"
    );

    // Nor does a certificate bring the old one back.
    std::fs::copy(world.server.ca_file(), folder.path().join("other.pem")).unwrap();
    std::fs::rename(folder.path().join("other.pem"), &authority).unwrap();
    world.says(&["the certificates were read again"], 1).await;
    world.server.restart().await;
    world.says(&["connected to the directory"], 2).await;
    assert_eq!(refused(&world), 1);
}

#[tokio::test]
async fn an_order_is_carried_out_even_if_its_connection_ends() {
    let world = world(1, "").await;
    let mut visitor = Visitor::of(&world).await;
    visitor.signs_in().await;
    let looked_up = |world: &World| world.server.log().matches("(entryUUID=").count();
    let before = looked_up(&world);
    world.server.pause();
    let csrf = visitor.csrf.clone();
    let fields = [
        ("csrf", csrf.as_str()),
        ("order", "sync"),
        ("who", "person1@example.org"),
    ];
    let answered = timeout(
        Duration::from_millis(500),
        visitor.send("order", visitor.own(), &fields),
    )
    .await;
    assert!(answered.is_err(), "the directory does not answer");
    world.server.resume();
    for _ in 0..100 {
        if looked_up(&world) > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody was looked up:\n{}", world.server.log());
}

#[tokio::test]
async fn nothing_about_people_is_reachable_and_nothing_is_done_without_signing_in() {
    let world = world(0, "[invite]\nhold = \"all\"").await;
    world.people().add_person("ann").await;
    world.tasks("held", 1).await;
    let mut visitor = Visitor::of(&world).await;
    let id = world.people().entry_uuid("ann").await.to_string();
    for path in [
        "",
        "live",
        &format!("person?id={id}"),
        "person?id=ann@example.org",
    ] {
        let body = visitor.body(path).await;
        assert!(!body.contains("ann") && !body.contains("uid="), "{path}: {body}");
    }
    let orders: [&[(&str, &str)]; 3] = [
        &[("order", "approve"), ("row", "1")],
        &[("order", "approve"), ("row", "1"), ("csrf", "")],
        &[("who", "ann@example.org")],
    ];
    for fields in orders {
        for path in ["order", "search", "sign-out"] {
            let answer = visitor.send(path, visitor.own(), fields).await;
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()[LOCATION]),
                (303, &"./".parse().unwrap())
            );
        }
    }
    // A browser without JavaScript reloads what a form answered.
    for path in ["order", "search", "sign-in", "sign-out"] {
        let answer = visitor.get(path).await;
        assert_eq!(
            (answer.status(), &answer.headers()[LOCATION]),
            (StatusCode::SEE_OTHER, &"./".parse().unwrap()),
            "{path}"
        );
    }

    visitor.signs_in().await;
    assert!(visitor.body("").await.contains("ann@example.org"));
    // Another site, an older page, a browser that says nothing.
    let csrf = visitor.csrf.clone();
    let order = [("order", "approve"), ("row", "1"), ("csrf", csrf.as_str())];
    for origin in [Some("https://evil.example.org"), Some("null"), None] {
        assert_eq!(
            visitor.send("order", origin, &order).await.status(),
            StatusCode::FORBIDDEN,
            "{origin:?}"
        );
    }
    let foreign = [("order", "approve"), ("row", "1"), ("csrf", "00")];
    assert_eq!(
        visitor.send("order", visitor.own(), &foreign).await.status(),
        StatusCode::FORBIDDEN
    );
    let unknown = [("order", "delete"), ("csrf", csrf.as_str())];
    assert_eq!(
        visitor.send("order", visitor.own(), &unknown).await.status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(world.vault.count("invite"), 0);

    // Rebinding: a name of somebody else.
    let asked = visitor.client.get(&visitor.url).header(HOST, "evil.example.org");
    let answer = asked.header(COOKIE, &visitor.cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    assert!(!answer.text().await.unwrap().contains("ann"));

    let sign_out = [("csrf", csrf.as_str())];
    assert_eq!(
        visitor.send("sign-out", visitor.own(), &sign_out).await.status(),
        StatusCode::SEE_OTHER
    );
    assert!(!visitor.body("").await.contains("ann@example.org"));
    assert_eq!(
        visitor.send("order", visitor.own(), &order).await.status(),
        StatusCode::SEE_OTHER
    );
    assert_eq!(world.vault.count("invite"), 0);
}

#[tokio::test]
async fn every_answer_forbids_what_a_browser_should_not_do_and_only_named_files_are_kept() {
    let world = world(0, "").await;
    let visitor = Visitor::of(&world).await;
    let page = visitor.get("").await;
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
        "{policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "same-origin");
    let page = page.text().await.unwrap();
    for inline in [
        " style=",
        "<style",
        " onclick",
        "javascript:",
        "http://",
        "https://",
    ] {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(inline), "{inline} is in {page}");
    }
    for name in page
        .split("assets/")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
    {
        let asset = visitor.get(&format!("assets/{name}")).await;
        assert_eq!(asset.status(), 200, "{name}");
        assert!(
            asset.headers()["cache-control"]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
    }
    assert_eq!(visitor.get("assets/page.css").await.status(), 404);
    for path in ["livez", "healthz"] {
        assert_eq!(visitor.get(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn whoever_guesses_keeps_nobody_out_and_gets_few_lines_of_the_log() {
    let world = world(0, "").await;
    let visitor = Visitor::of(&world).await;
    let tries = async |token: &str| {
        let answer = visitor.send("sign-in", visitor.own(), &[("token", token)]).await;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let is_page = answer.text().await.unwrap().contains("This is not the token.");
        (status, headers.contains_key(SET_COOKIE), is_page)
    };
    for _ in 0..5 {
        assert_eq!(tries("a wrong token").await, (403, false, true));
    }
    // Each wrong one keeps the next waiting.
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(tries("a wrong token").await, (403, false, true));
    }
    assert!(
        began.elapsed() >= Duration::from_millis(3900),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(tries(TOKEN).await, (303, true, false));
    world.says(&["somebody signed in", "from=\"127.0.0.1\""], 1).await;
    let lines = world.lines(&["somebody could not sign in", "from=\"127.0.0.1\""]);
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[tokio::test]
async fn of_a_very_long_story_the_page_shows_the_end_and_the_command_all() {
    let mut world = world(1, "").await;
    world.tasks("done", 1).await;
    world.stop().await;
    let db = rusqlite::Connection::open(world.state_file()).unwrap();
    db.execute(
        "with recursive n(n) as (select 1 union all select n + 1 from n where n < 600)
         insert into journal (at, directory, entry_id, dn, source, event)
         select at, directory, entry_id, dn, source, json_object('event', 'left', 'reason', 'number ' || n)
         from (select * from journal where entry_id is not null order by id limit 1), n",
        (),
    )
    .unwrap();
    db.execute(
        "with recursive n(n) as (select 1 union all select n + 1 from n where n < 600)
         insert into action (kind, address, member, state, due, arrived, since)
         select 'invite', 'former' || n || '@example.org', id, 'cancelled', 0, 0, 0 from member, n",
        (),
    )
    .unwrap();
    drop(db);
    world.start_only();
    world.connected(1).await;
    let mut visitor = Visitor::of(&world).await;
    visitor.signs_in().await;
    let id = world.people().entry_uuid("person1").await;
    let story = visitor.body(&format!("person?id={id}")).await;
    let cut = format!("The last 500 are shown; <code>ldap-usher explain {id}</code> shows all.");
    assert_eq!(story.matches(&cut).count(), 2, "{story}");
    assert_eq!(story.matches("former").count(), 500);
    let shown = |n: u32| story.contains(&format!("left: number {n}<"));
    assert!(shown(600) && shown(102) && !shown(50));
    assert_eq!(story.matches("left: number ").count(), 500);
    let told = world.ask(&["explain", &id.to_string()]).await;
    let told = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.matches("left: number ").count(), 600, "{told}");
    assert_eq!(told.matches("former").count(), 600, "{told}");
}

#[tokio::test]
async fn all_that_are_shown_are_decided_on_together_and_nobody_who_came_later() {
    let world = world(0, "[invite]\nhold = \"all\"").await;
    for uid in ["ann", "bob"] {
        world.people().add_person(uid).await;
    }
    world.tasks("held", 2).await;
    let mut visitor = Visitor::of(&world).await;
    visitor.signs_in().await;
    let page = visitor.body("").await;
    let (_, all) = page.split_once("Decide on all 2 that are shown").unwrap();
    assert!(all.contains("Carrying them out means: 2 to be invited."), "{all}");
    let rows = all
        .split("</form>")
        .next()
        .unwrap()
        .split("name=\"row\" value=\"")
        .skip(1);
    let rows: Vec<&str> = rows.map(|row| row.split('"').next().unwrap()).collect();
    world.people().add_person("eve").await;
    world.tasks("held", 3).await;
    let mut fields = vec![("csrf", visitor.csrf.as_str()), ("order", "approve")];
    fields.extend(rows.iter().map(|row| ("row", *row)));
    for says in ["2 approved.", "Somebody else has decided on that already."] {
        assert_eq!(
            visitor.send("order", visitor.own(), &fields).await.status(),
            StatusCode::SEE_OTHER
        );
        assert!(visitor.body("").await.contains(says), "{says}");
    }
    world.invited(["ann", "bob"]).await;
    world.tasks("held", 1).await;
}

#[tokio::test]
async fn behind_a_proxy_with_tls_the_cookie_is_secure_and_the_journal_names_both_addresses() {
    let world = world(0, "[invite]\nhold = \"all\"").await;
    world.people().add_person("ann").await;
    world.tasks("held", 1).await;
    let mut visitor = Visitor::of(&world).await;
    let proxied = |path: &str| {
        let asked = visitor.client.post(format!("{}{path}", visitor.url));
        asked
            .header(HOST, "usher")
            .header(ORIGIN, "https://usher")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-For", "203.0.113.9, 192.0.2.7")
    };
    let answer = proxied("sign-in").form(&[("token", TOKEN)]).send().await.unwrap();
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(
        cookie.starts_with("__Host-ldap-usher=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = visitor
        .client
        .get(&visitor.url)
        .header("X-Forwarded-Proto", "https");
    let page = page
        .header(COOKIE, &cookie)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let (_, after) = page.split_once("name=\"csrf\" value=\"").unwrap();
    let csrf = after.split('"').next().unwrap();
    let (_, after) = page.split_once("name=\"row\" value=\"").unwrap();
    let row = after.split('"').next().unwrap();
    let order = [("order", "approve"), ("row", row), ("csrf", csrf)];
    let answer = proxied("order")
        .header(COOKIE, &cookie)
        .form(&order)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    world.invites("ann").await;
    let journal = String::from_utf8(world.ask(&["journal"]).await.stdout).unwrap();
    let asked =
        "asked on the status page, from 192.0.2.7 (by the proxy 127.0.0.1), to approve the invitation";
    assert!(journal.contains(asked), "{journal}");
    visitor.cookie = cookie;
    assert!(
        !visitor.body("").await.contains("ann@"),
        "the cookie of TLS is good without TLS"
    );
}

#[tokio::test]
async fn another_token_is_taken_by_a_reload_and_ends_all_sessions() {
    let world = world(0, "").await;
    let mut visitor = Visitor::of(&world).await;
    visitor.signs_in().await;
    let config = world.service().config();
    config.write(
        "config.toml",
        &world.config().replace(TOKEN, "another token of some length"),
    );
    world.service().signal("HUP").await;
    world.says(&["secrets and log level were reloaded"], 1).await;
    assert!(!visitor.body("").await.contains("Sign out"));
    let answer = visitor.send("sign-in", visitor.own(), &[("token", TOKEN)]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);

    // Without a token nobody signs in any more.
    let without = world.config().replace(&format!("admin_token = \"{TOKEN}\""), "");
    config.write("config.toml", &without);
    world.service().signal("HUP").await;
    world.says(&["secrets and log level were reloaded"], 2).await;
    let token = [("token", "another token of some length")];
    let answer = visitor.send("sign-in", visitor.own(), &token).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn names_from_a_directory_are_shown_as_they_are_and_run_nothing() {
    let world = world(0, "").await;
    let browser = Browser::start().await;
    browser.open(&url(&world).await).await;
    sign_in(&browser).await;
    world
        .people()
        .add_person_with("ann", Some("o'hara&b@example.org"))
        .await;
    browser.shows("o'hara&b@example.org").await;
    let name = "\\<script\\>window.hit=1\\</script\\>\\<img src=x onerror=hit()\\>";
    world.people().rename("ann", name).await;
    browser.shows("was renamed or moved").await;
    browser.click("(//a[contains(., 'hara')])[1]").await;
    browser.shows("script").await;
    assert_eq!(browser.script("return window.hit === undefined").await, true);
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_screen_reader_finds_landmarks_headings_tables_charts_and_named_buttons() {
    let world = world(2, "[invite]\nhold = \"all\"").await;
    world.people().add_person("ann").await;
    world.tasks("held", 3).await;
    let browser = Browser::start().await;
    browser.open(&url(&world).await).await;
    assert_eq!(
        browser.spoken("//input[@name='token']").await,
        ("textbox".into(), "Token".into())
    );
    sign_in(&browser).await;
    for (path, role, name) in [
        ("//main", "main", ""),
        ("//h1[@id='state']", "heading", "Ready"),
        ("//form[@role='search']", "search", ""),
        ("//input[@id='who']", "searchbox", "Find a person"),
        (
            "//section[@aria-labelledby='directories']",
            "region",
            "Directories",
        ),
        (
            "//section[@aria-labelledby='directories']//table",
            "table",
            "Directories",
        ),
        (
            "//section[@aria-labelledby='directories']//tbody/tr/td[1]",
            "cell",
            "main",
        ),
        (
            "//section[@aria-labelledby='directories']//th[1]",
            "columnheader",
            "Directory",
        ),
        (
            "//button[@aria-label='Approve: ann@example.org']",
            "button",
            "Approve: ann@example.org",
        ),
        ("//span[@id='connection']", "status", ""),
    ] {
        let spoken = browser.spoken(path).await;
        assert_eq!(spoken.0, role, "{path}");
        assert!(name.is_empty() || spoken.1 == name, "{path}: {spoken:?}");
    }
    let (role, name) = browser.spoken("(//*[local-name()='svg'])[1]").await;
    assert!(matches!(role.as_str(), "image" | "img"), "{role}");
    assert!(
        name.starts_with("Last 24 hours: ") && name.contains("joined"),
        "{name}"
    );
    let missing = "return [...document.querySelectorAll('input:not([type=hidden])')].filter(i => !i.labels.length).length";
    assert_eq!(browser.script(missing).await, 0);
    // On a narrow screen a table looks like cards, and still is a table.
    browser.screen((390, 900), "light").await;
    let cell = browser
        .spoken("//section[@aria-labelledby='directories']//tbody/tr/td[1]")
        .await;
    assert_eq!(cell.0, "cell");
    let wide = browser
        .script("return document.documentElement.scrollWidth")
        .await;
    assert!(wide.as_u64().unwrap() <= 390, "the page is {wide} wide");
}

#[tokio::test]
async fn streams_of_events_have_a_limit_end_by_themselves_and_when_the_service_stops() {
    let mut world = world(0, "").await;
    let visitor = Visitor::of(&world).await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = visitor.get("events").await;
        assert_eq!(stream.status(), 200);
        let first = timeout(PATIENCE, stream.chunk()).await.unwrap().unwrap().unwrap();
        assert!(String::from_utf8_lossy(&first).contains("event: version"));
        streams.push(stream);
    }
    assert_eq!(
        visitor.get("events").await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(visitor.get("livez").await.status(), 200);
    assert_eq!(visitor.get("").await.status(), 200);
    world.stop().await;
    for mut stream in streams {
        while let Ok(Ok(Some(_))) = timeout(PATIENCE, stream.chunk()).await {}
    }
}

#[tokio::test]
async fn without_a_token_nobody_signs_in_and_the_page_says_how_to_change_that() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.start().await;
    let visitor = Visitor::of(&world).await;
    let page = visitor.body("").await;
    assert!(
        page.contains("admin_token") && !page.contains("name=\"token\""),
        "{page}"
    );
    let answer = visitor.send("sign-in", visitor.own(), &[("token", "")]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

/// Writes a month of events into the journal of a service that does not run.
fn remember(world: &World) {
    let db = rusqlite::Connection::open(world.state_file()).unwrap();
    let now: i64 = db
        .query_row("select max(at) from journal", (), |row| row.get(0))
        .unwrap();
    db.execute("update journal set id = id + 10000", ()).unwrap();
    let mut insert = db
        .prepare(
            "insert into journal (id, at, directory, dn, source, event) values (?, ?, 1, '', 'stream', ?)",
        )
        .unwrap();
    let mut number = 0;
    let mut happens = |at: i64, event: &str| {
        number += 1;
        insert.execute((number, at, event)).unwrap();
    };
    for hour in (1..30 * 24_i64).rev() {
        let busy = (hour * 7919 % 31) * i64::from(hour % 24 < 12) / 9;
        for n in 0..busy {
            let at = now - hour * 3_600_000 + n;
            happens(at, r#"{"event":"joined"}"#);
            let ms = 30 + hour * 37 % 400 * n;
            happens(at, &format!(r#"{{"event":"invited","after_ms":{ms}}}"#));
            if n == 1 {
                happens(at, r#"{"event":"left"}"#);
            }
        }
    }
}

#[tokio::test]
async fn the_page_fits_every_screen_in_the_light_and_in_the_dark() {
    let mut world = world(30, "[limits]\ninvites_per_hour = 3").await;
    world.tasks("done", 30).await;
    world.stop().await;
    remember(&world);
    world.start_only();
    world.connected(1).await;
    world.vault.fail(On::Invite, Some("eve@example.org"), 1, REFUSAL);
    for uid in ["eve", "ann", "bob", "joe"] {
        world.people().add_person(uid).await;
    }
    world.people().delete("person9").await;
    world.vault.register("person1@example.org");
    world.tasks("held", 1).await;
    world.tasks("quarantined", 1).await;
    let browser = Browser::start().await;
    browser.open(&url(&world).await).await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    browser.screen((1280, 1100), "light").await;
    browser.shows("Live").await;
    browser.picture(&folder.join("page-numbers.png"), 1.0).await;
    sign_in(&browser).await;
    browser.shows("Live").await;
    browser
        .until("has counted the month", async || {
            !browser.text().await.contains("being counted")
        })
        .await;
    for (name, size, scheme) in [
        ("light", (1280, 1440), "light"),
        ("dark", (1280, 1440), "dark"),
        ("phone-light", (390, 2600), "light"),
        ("phone-dark", (390, 2600), "dark"),
    ] {
        browser.screen(size, scheme).await;
        browser
            .picture(&folder.join(format!("page-{name}.png")), 1.0)
            .await;
        let wide = browser
            .script("return document.documentElement.scrollWidth")
            .await;
        assert!(
            wide.as_u64().unwrap() <= u64::from(size.0),
            "{name} is {wide} wide"
        );
    }
    browser.screen((390, 900), "light").await;
    browser
        .script("document.getElementById('events').scrollIntoView()")
        .await;
    browser.picture(&folder.join("page-phone-events.png"), 1.0).await;
    browser.script("scrollTo(0, 0)").await;
    // The one in the guide and the README.
    browser.screen((1180, 1488), "light").await;
    browser.picture(&folder.join("status-page.png"), 0.8).await;
    browser.screen((1280, 1000), "light").await;
    browser.write("//input[@id='who']", "ann@example.org").await;
    browser.click("//button[.='Find']").await;
    browser.shows("What happened").await;
    browser.picture(&folder.join("page-story.png"), 1.0).await;
    assert_eq!(browser.complaints().await, [""; 0]);
}
