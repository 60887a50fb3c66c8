//! A headless Chromium, asked by WebDriver (W3C) through chromedriver. It asks nobody but the page under test.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// A browser with a profile of its own. It ends when this is dropped.
pub struct Browser {
    driver: Child,
    client: Client,
    /// The URL of its session.
    session: String,
    process: Option<i32>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.start_kill();
        // The driver does not end the browser if it is killed itself.
        let process = self.process.and_then(rustix::process::Pid::from_raw);
        if let Some(process) = process {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
}

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    /// If Chromium or its driver is missing or does not start.
    pub async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is missing; run: apt-get install chromium chromium-driver");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = timeout(PATIENCE, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("chromedriver ended");
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    break port.trim_end_matches('.').to_owned();
                }
            }
        });
        let port = port.await.expect("chromedriver does not start");
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let client = client();
        let mut browser = Self {
            driver,
            client,
            session: format!("http://127.0.0.1:{port}/session"),
            process: None,
            _profile: profile,
        };
        let opened = browser.call(Method::POST, "", wanted).await.unwrap();
        browser.session += &format!("/{}", opened["sessionId"].as_str().unwrap());
        let process = opened["capabilities"]["goog:processID"].as_i64();
        browser.process = process.and_then(|process| process.try_into().ok());
        browser
    }

    /// One command of WebDriver. The error is its code.
    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, String> {
        let mut request = self
            .client
            .request(method.clone(), format!("{}{path}", self.session));
        if method == Method::POST {
            request = request.json(&body);
        }
        let answer = timeout(PATIENCE, request.send())
            .await
            .expect("the browser hangs")
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let done = self.call(Method::POST, path, body).await;
        done.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn get(&self, path: &str) -> Value {
        let done = self.call(Method::GET, path, Value::Null).await;
        done.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// The result of a script.
    pub async fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// The text that the page shows.
    pub async fn text(&self) -> String {
        let text = self.script("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows a text.
    pub async fn shows(&self, text: &str) {
        self.until(&format!("shows {text:?}"), async || {
            self.text().await.contains(text)
        })
        .await;
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await {
            if Instant::now() > deadline {
                panic!("it never {what}; the page is\n{}", self.text().await);
            }
            sleep(PAUSE).await;
        }
    }

    /// The element that an XPath finds, once it is there.
    async fn element(&self, path: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = json!({ "using": "xpath", "value": path });
            match self.call(Method::POST, "/element", found).await {
                Ok(found) => {
                    let id = found.as_object().and_then(|found| found.values().next());
                    return id.and_then(Value::as_str).unwrap().to_owned();
                }
                Err(error) if Instant::now() > deadline => {
                    panic!("{path}: {error}; the page is\n{}", self.text().await)
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Does something to the element that an XPath finds. The page may replace it in between.
    async fn act(&self, path: &str, action: &str, body: Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let element = self.element(path).await;
            match self
                .call(
                    Method::POST,
                    &format!("/element/{element}/{action}"),
                    body.clone(),
                )
                .await
            {
                Ok(_) => return,
                Err(error) if Instant::now() > deadline => panic!("{path}: {error}"),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Clicks on what an XPath finds.
    pub async fn click(&self, path: &str) {
        self.act(path, "click", json!({})).await;
    }

    /// Types into what an XPath finds.
    pub async fn write(&self, path: &str, text: &str) {
        self.act(path, "value", json!({ "text": text })).await;
    }

    /// Presses keys, wherever the keyboard is.
    pub async fn keys(&self, keys: &str) {
        let presses = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
        });
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": presses.collect::<Vec<_>>() });
        self.post("/actions", json!({ "actions": [keyboard] })).await;
    }

    /// The role and the name by which a screen reader knows what an XPath finds.
    pub async fn spoken(&self, path: &str) -> (String, String) {
        let element = self.element(path).await;
        let role = self.get(&format!("/element/{element}/computedrole")).await;
        let label = self.get(&format!("/element/{element}/computedlabel")).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&role), text(&label))
    }

    /// What the page has written to the console since the last call, warnings and errors only.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().cloned().unwrap_or_default().into_iter();
        let bad = entries.filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        bad.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// A screen of this size, in this `prefers-color-scheme`.
    pub async fn screen(&self, (width, height): (u32, u32), scheme: &str) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.cdp("Emulation.setEmulatedMedia", media).await;
    }

    /// Saves a picture of what the screen shows, made larger or smaller.
    pub async fn picture(&self, file: &Path, scale: f64) {
        let size = self.script("return [innerWidth, innerHeight, scrollY]").await;
        let clip = json!({ "x": 0, "y": size[2], "width": size[0], "height": size[1], "scale": scale });
        let shot = self.cdp("Page.captureScreenshot", json!({ "clip": clip })).await;
        let data = decoded(shot["data"].as_str().unwrap());
        fs::write(file, data).unwrap();
    }

    async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            json!({ "cmd": command, "params": parameters }),
        )
        .await
    }
}

/// A client that follows no redirect.
pub fn client() -> Client {
    // An earlier test has done that.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .build()
        .unwrap()
}

/// Base64 (RFC 4648).
fn decoded(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits = text.bytes().filter(|byte| *byte != b'=').map(value);
    let (mut bytes, mut kept, mut count) = (Vec::new(), 0_u32, 0);
    for six in bits {
        kept = kept << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((kept >> count & 0xff) as u8);
        }
    }
    bytes
}
