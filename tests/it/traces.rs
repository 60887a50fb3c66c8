//! Traces of OpenTelemetry, as a collector gets them from the real service.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use tokio::time::{Instant, sleep};

use crate::support::receiver::{Conduct, Received, Receiver};
use crate::support::service::{Config, Service};
use crate::support::slapd::Slapd;
use crate::support::world::{PATIENCE, World};

const KEY: &str = "a-key-that-only-the-collector-sees";

/// The table with which the service sends traces there.
fn traces(collector: &Receiver) -> String {
    format!(
        "[traces]\nurl = \"http://{}/v1/traces\"\nheaders = \"X-Api-Key: {KEY}\"\n",
        collector.address()
    )
}

/// A service that sends traces there, and has listed everyone.
async fn traced(collector: &Receiver, more: &str) -> World {
    let world = World::with(Slapd::builder()).await;
    let mut world = world.tables(&format!("{}{more}", traces(collector)));
    world.start().await;
    world
}

fn request(received: &Received) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(received.bytes.clone()).unwrap()
}

/// All spans that were received.
fn spans(received: &[Received]) -> Vec<Span> {
    let resources = received
        .iter()
        .flat_map(|received| request(received).resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        other => panic!("{other:?}"),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// Waits until there are spans with all of these names.
async fn with(collector: &Receiver, names: &[&str]) -> Vec<Span> {
    let all = |received: &[Received]| {
        let spans = spans(received);
        names.iter().all(|name| !named(&spans, name).is_empty())
    };
    spans(&collector.until(&names.join(", "), all).await)
}

#[tokio::test]
async fn the_way_of_a_change_is_one_trace_from_the_directory_to_the_answer_of_vaultwarden() {
    let (collector, webhook) = (Receiver::start(), Receiver::start());
    let notify = format!("[notify]\nurl = \"{}\"\n", webhook.url());
    let world = traced(&collector, &notify).await;
    world.witness("ann").await;
    let spans = with(&collector, &["change", "invite", "POST /admin/invite", "notify"]).await;

    let (change, invite) = (named(&spans, "change")[0], named(&spans, "invite")[0]);
    assert_eq!(change.trace_id, invite.trace_id);
    assert!(change.parent_span_id.is_empty() && invite.parent_span_id.is_empty());
    assert!(change.start_time_unix_nano <= change.end_time_unix_nano);
    assert!(change.start_time_unix_nano <= invite.start_time_unix_nano);
    assert_eq!(
        ["directory", "source", "event"]
            .map(|key| text(&change.attributes, &format!("ldap_usher.{key}")).unwrap()),
        ["main", "stream", "owed"]
    );
    assert_eq!(text(&invite.attributes, "ldap_usher.outcome").unwrap(), "invited");

    // The first call meets a Vaultwarden that wants a login.
    let calls: Vec<_> = spans
        .iter()
        .filter(|span| span.parent_span_id == invite.span_id)
        .collect();
    let told: Vec<_> = calls
        .iter()
        .map(|call| {
            (
                call.name.as_str(),
                text(&call.attributes, "http.response.status_code").unwrap(),
            )
        })
        .collect();
    let expected = [
        ("POST /admin/invite", "401"),
        ("POST /admin", "200"),
        ("GET /admin/diagnostics/config", "200"),
        ("POST /admin/invite", "200"),
    ];
    assert_eq!(told, expected.map(|(call, status)| (call, status.to_owned())));
    assert!(
        calls
            .iter()
            .all(|call| call.trace_id == invite.trace_id && call.kind == SpanKind::Client as i32)
    );
    assert_eq!(text(&calls[0].attributes, "server.address").unwrap(), "127.0.0.1");
    // How the session with the directory came about is told, too.
    assert_eq!(
        text(
            &named(&spans, "open stream")[0].attributes,
            "ldap_usher.directory"
        )
        .unwrap(),
        "main"
    );
    assert_eq!(
        text(&named(&spans, "listing")[0].attributes, "ldap_usher.complete").unwrap(),
        "true"
    );

    // The receiver of a notification can go on with the trace.
    let told = webhook.got(2).await;
    let parent = told[0].headers["traceparent"].to_str().unwrap().to_owned();
    let id = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let posts: Vec<String> = named(&spans, "POST")
        .iter()
        .map(|span| format!("00-{}-{}-01", id(&span.trace_id), id(&span.span_id)))
        .collect();
    assert!(posts.contains(&parent), "{parent}: {posts:?}");

    let received = collector.received().clone();
    assert_eq!(received[0].path, "/v1/traces");
    assert_eq!(received[0].headers["x-api-key"], KEY);
    let resource = request(&received[0]).resource_spans[0].resource.clone().unwrap();
    assert_eq!(text(&resource.attributes, "service.name").unwrap(), "ldap-usher");
    for received in &received {
        for secret in ["ann", "example", "sesame", KEY, "T0KEN"] {
            assert!(!received.body.contains(secret), "{secret} in {}", received.body);
        }
    }
}

#[tokio::test]
async fn a_collector_that_fails_holds_nothing_up_and_is_reported_once() {
    let mut collector = Receiver::start();
    collector.down();
    let mut world = traced(&collector, "").await;
    world.witness("ann").await;
    world
        .service()
        .wait_for_line("traces cannot be sent and are discarded", PATIENCE)
        .await;
    world.witness("bob").await;
    collector.up();
    collector.conduct(Conduct::Refuse(503));
    world.witness("cid").await;
    collector.got(1).await;
    collector.conduct(Conduct::Accept);
    world.witness("dan").await;
    world
        .service()
        .wait_for_line("traces are sent again", PATIENCE)
        .await;
    assert_eq!(world.lines(&["traces cannot be sent"]).len(), 1);

    // It does not hold up the end either.
    collector.conduct(Conduct::Hang);
    world.witness("eve").await;
    let began = Instant::now();
    world.stop().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_has_happened_until_the_end_is_sent_and_the_variables_of_opentelemetry_hold() {
    let collector = Receiver::start();
    let world = World::with(Slapd::builder().people(1)).await;
    let config = Config::new(&world.config());
    let mut run = config.command();
    run.arg("run")
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}/", collector.address()),
        )
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_SERVICE_NAME", "usher of the school")
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let mut service = Service::start_by(run, config);
    service.wait_for_line("invited", PATIENCE).await;
    sleep(Duration::from_millis(200)).await;
    assert!(collector.received().is_empty());
    service.term().await;
    assert!(service.wait().await.success());
    let received = collector.received().clone();
    assert_eq!(named(&spans(&received), "invite").len(), 1);
    let resource = request(&received[0]).resource_spans[0].resource.clone().unwrap();
    assert_eq!(
        text(&resource.attributes, "service.name").unwrap(),
        "usher of the school"
    );
    assert_eq!(received[0].path, "/v1/traces");
}

#[tokio::test]
async fn a_call_that_fails_is_a_failed_span() {
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
    let collector = Receiver::start();
    let mut world = traced(&collector, "").await;
    world.witness("ann").await;
    world.vault.down();
    world.people().add_person("bob").await;
    let failed = |span: &&Span| {
        span.status
            .as_ref()
            .is_some_and(|status| status.code == StatusCode::Error as i32)
    };
    let received = collector
        .until("a failed invitation", |received| {
            named(&spans(received), "invite").iter().any(failed)
        })
        .await;
    let spans = spans(&received);
    let invite = *named(&spans, "invite").iter().find(|span| failed(span)).unwrap();
    assert_eq!(text(&invite.attributes, "error.type").unwrap(), "outage");
    let call = spans
        .iter()
        .find(|span| span.parent_span_id == invite.span_id)
        .unwrap();
    assert_eq!(text(&call.attributes, "error.type").unwrap(), "unconnected");
}

#[tokio::test]
async fn check_tells_whether_the_collector_takes_traces() {
    let mut collector = Receiver::start();
    let world = World::with(Slapd::builder()).await;
    let world = world.tables(&traces(&collector));
    let check = async || {
        let output = world.ask(&["check"]).await;
        String::from_utf8(output.stdout).unwrap()
    };
    let said = check().await;
    assert!(said.contains("the collector takes traces (status 204)"), "{said}");
    collector.conduct(Conduct::Refuse(404));
    let said = check().await;
    assert!(
        said.contains("refuses traces (status 404)") && said.contains("/v1/traces for most"),
        "{said}"
    );
    collector.conduct(Conduct::Refuse(401));
    let said = check().await;
    assert!(said.contains("by `headers` in [traces]"), "{said}");
    collector.down();
    let said = check().await;
    assert!(
        said.contains("cannot be reached") && said.contains("OTLP over HTTP"),
        "{said}"
    );
}
