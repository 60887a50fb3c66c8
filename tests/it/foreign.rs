//! Whatever answers in Vaultwarden's place: bodies without end, bytes that drip, foreign kinds of content, and
//! redirects that would carry the token away. The time is paused: a deadline is met when nothing else happens.

use std::time::Duration;

use ldap_usher::model::Disposition;
use ldap_usher::vaultwarden::{Admin, ClientSettings, VaultwardenError as Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::stand_in::StandIn;
use crate::vaultwarden::{address, addresses, client_of, settings};

/// A server that answers every request with `head` (status line and headers), then with `piece` for ever, with a
/// pause before each.
struct Foreign {
    url: String,
    _serving: JoinSet<()>,
}

impl Foreign {
    async fn start(head: &'static str, piece: &'static [u8], pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(answer(stream, head, piece, pause));
            }
        });
        Self {
            url,
            _serving: serving,
        }
    }

    /// Every kind of call, and how each of them fails.
    async fn errors(&self) -> [Error; 4] {
        let client = client_of(&ClientSettings {
            timeout: Duration::from_secs(30),
            slow_timeout: Duration::from_secs(90),
            ..settings(&self.url)
        });
        let ann = address("ann@example.org");
        [
            client.invite(&ann).await.unwrap_err(),
            client.account(&ann).await.unwrap_err(),
            addresses(&client).await.unwrap_err(),
            client.alive().await.err().unwrap_or(Error::EmptyToken),
        ]
    }
}

async fn answer(mut stream: TcpStream, head: &str, piece: &[u8], pause: Duration) {
    // A request fits into one read: it is sent as one piece.
    let _ = stream.read(&mut [0; 8192]).await;
    let mut said = stream.write_all(head.as_bytes()).await;
    while said.is_ok() && !piece.is_empty() {
        sleep(pause).await;
        said = stream.write_all(piece).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_without_end_are_left_after_their_first_mebibyte() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        "HTTP/1.1 500 Oh\r\nContent-Type: application/json\r\n\r\n",
        "HTTP/1.1 401 No\r\nContent-Type: text/plain\r\n\r\n",
    ] {
        let began = Instant::now();
        let server = Foreign::start(head, &[b'x'; 65536], Duration::ZERO).await;
        for error in server.errors().await {
            assert!(!matches!(error.disposition(), Disposition::Reject(_)), "{error}");
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_drips_is_given_up_though_it_is_never_silent() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    let server = Foreign::start(head, b" ", Duration::from_secs(10)).await;
    let client = client_of(&settings(&server.url));
    let ann = address("ann@example.org");
    let began = Instant::now();
    let error = client.invite(&ann).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Ambiguous, "{error}");
    assert!(error.to_string().contains("does not end within 30s"), "{error}");
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_accounts_without_end_ends_with_an_error() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[";
    let account = br#"{"id":"1","email":"ann@example.org"},"#;
    let server = Foreign::start(head, account, Duration::from_secs(5)).await;
    let error = addresses(&client_of(&settings(&server.url))).await.unwrap_err();
    assert!(error.to_string().contains("does not end within 900s"), "{error}");
    assert_eq!(error.disposition(), Disposition::Outage);
}

#[tokio::test(start_paused = true)]
async fn headers_without_end_are_an_error() {
    let head = "HTTP/1.1 200 OK\r\nX-Long: ";
    let server = Foreign::start(head, &[b'x'; 65536], Duration::ZERO).await;
    for error in server.errors().await {
        let expected = [Disposition::Ambiguous, Disposition::Outage];
        assert!(expected.contains(&error.disposition()), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn foreign_kinds_of_content_are_no_answers() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 4\r\n\r\n\x7fPNG",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        "HTTP/1.1 204 No\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
    ] {
        let server = Foreign::start(head, b"", Duration::ZERO).await;
        let [invite, account, list, _] = server.errors().await;
        for error in [invite, account, list] {
            assert!(!matches!(error.disposition(), Disposition::Reject(_)), "{error}");
            assert!(error.to_string().contains(&server.url), "{error}");
        }
    }
}

#[tokio::test]
async fn no_redirect_carries_the_token_away() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = StandIn::start();
        let head = format!(
            "HTTP/1.1 {status} Go\r\nLocation: {}/admin\r\nContent-Length: 0\r\n\r\n",
            elsewhere.url()
        );
        let server = Foreign::start(head.leak(), b"", Duration::ZERO).await;
        for error in server.errors().await {
            assert_eq!(error.disposition(), Disposition::Operator, "{error}");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
        assert!(elsewhere.calls().is_empty(), "after {status}");
    }
}
