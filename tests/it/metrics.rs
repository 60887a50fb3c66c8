//! Metrics as a real Prometheus reads them: the table in the documentation, the alerts and the dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::support::slapd::{Slapd, free_port};
use crate::support::world::{PATIENCE, World};

fn packaged(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path)
}

/// A service to which all that metrics count has happened: it has invited somebody, over TLS, and notified a receiver.
async fn busy() -> World {
    let mut world = World::with(Slapd::builder().tls().people(3)).await;
    let server = &world.server;
    world.directory = format!(
        "[[directory]]\nname = \"main\"\nurl = {:?}\nbind_dn = {:?}\nbind_password = {:?}\nbase_dn = {:?}\nca_file = {:?}\n\
         audit_interval = \"1s\"\n[notify]\ncommand = [\"/bin/true\"]\nevents = [\"all\"]\n",
        server.ldaps_url(),
        server.reader_dn(),
        server.reader_pw(),
        server.people_base(),
        server.ca_file(),
    );
    world.start().await;
    world.witness("ann").await;
    world.invited(["ann", "person1", "person2", "person3"]).await;
    let deadline = Instant::now() + PATIENCE;
    world.audited().await;
    for needed in ["certificate_expiry", "notifications_total"] {
        while !world.metrics().await.contains(needed) {
            assert!(Instant::now() < deadline, "{needed}: {}", world.metrics().await);
            sleep(Duration::from_millis(100)).await;
        }
    }
    world
}

/// The families in a scrape, with their types and the labels of their samples.
fn families(scrape: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families = BTreeMap::new();
    for line in scrape.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((name, rest)) = line.split_once('{') {
            let name = name.trim_end_matches("_bucket");
            let labels = rest
                .split("=\"")
                .map(|piece| piece.rsplit([',', '{', '"']).next().unwrap());
            let count = rest.matches("=\"").count();
            let labels = labels
                .take(count)
                .filter(|label| *label != "le")
                .map(str::to_owned);
            if let Some((_, known)) = families.get_mut(name) {
                known.extend(labels);
            }
        }
    }
    families
}

#[tokio::test]
async fn the_table_in_the_documentation_names_exactly_the_metrics_that_there_are() {
    let world = busy().await;
    let scrape = world.metrics().await;
    let (_, scrape) = scrape.split_once("\r\n\r\n").unwrap();
    let found = families(scrape);
    let page = fs::read_to_string(packaged("guide/metrics.md")).unwrap();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `ldap_usher_"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let (name, rest) = row.split_once("` | ").unwrap();
            let kind = rest.split(" | ").next().unwrap().to_owned();
            let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
            let labels = labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty());
            (
                format!("ldap_usher_{name}"),
                (kind, labels.map(str::to_owned).collect::<BTreeSet<_>>()),
            )
        })
        .collect();
    let names = |families: &BTreeMap<String, _>| families.keys().cloned().collect::<BTreeSet<_>>();
    let (documented_names, mut names) = (names(&documented), names(&found));
    // It has no sample here: there is one instance only.
    names.insert("ldap_usher_instance_info".to_owned());
    assert_eq!(documented_names, names);
    for (name, (kind, labels)) in &found {
        let (documented_kind, documented_labels) = &documented[name];
        assert_eq!(documented_kind, kind, "{name}");
        // Of some, nothing has happened.
        if !labels.is_empty() {
            assert_eq!(documented_labels, labels, "{name}");
        }
    }

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing; run `make packages`");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(scrape.as_bytes())
        .await
        .unwrap();
    let said = promtool.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert_eq!(said, "");
}

#[tokio::test]
async fn the_alerts_are_those_in_the_documentation_and_report_what_they_should() {
    let promtool = async |args: &[&str]| {
        let said = Command::new("promtool")
            .args(args)
            .current_dir(packaged("prometheus"))
            .output()
            .await
            .expect("promtool is missing; run `make packages`");
        let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{text}");
    };
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"]).await;
    promtool(&["test", "rules", "alerts_test.yml"]).await;
    let rules = fs::read_to_string(packaged("prometheus/alerts.yml")).unwrap();
    let tests = fs::read_to_string(packaged("prometheus/alerts_test.yml")).unwrap();
    let page = fs::read_to_string(packaged("guide/metrics.md")).unwrap();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: BTreeSet<_> = alerts.collect();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `LdapUsher"));
    let rows: Vec<_> = rows
        .map(|row| format!("LdapUsher{}", row.split('`').next().unwrap()))
        .collect();
    assert_eq!(rows.iter().map(String::as_str).collect::<BTreeSet<_>>(), alerts);
    for alert in alerts {
        let fires = format!("alertname=\"{alert}\"");
        let is_quiet = format!("alertname: {alert}, eval_time: 2h, exp_alerts: []");
        assert!(
            tests.contains(&fires) && tests.contains(&is_quiet),
            "{alert} is not tested"
        );
    }
}

/// A real Prometheus that scrapes a service.
struct Prometheus {
    url: String,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    async fn start(target: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = format!(
            "global:\n  scrape_interval: 1s\nrule_files: [{:?}]\nscrape_configs:\n  - job_name: ldap-usher\n    static_configs:\n      \
             - targets: [\"{target}\"]\n",
            packaged("prometheus/alerts.yml"),
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--log.level=error",
            ])
            .current_dir(folder.path())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus is missing; run `make packages`");
        Self {
            url: format!("http://127.0.0.1:{port}"),
            _process: process,
            _folder: folder,
        }
    }

    /// The result of a query; `None` while Prometheus does not answer.
    async fn query(&self, query: &str) -> Option<Vec<Value>> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", query)]);
        let answer = reqwest::Client::new().get(url.unwrap()).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(answer["data"]["result"].as_array().unwrap().clone())
    }

    /// Waits until a query has a result.
    async fn has(&self, query: &str) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.query(query).await {
                Some(found) if !found.is_empty() => return found,
                found => assert!(Instant::now() < deadline, "{query}: {found:?}"),
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn a_real_prometheus_answers_each_query_of_the_dashboard_and_no_alert_fires() {
    let world = busy().await;
    ldap_usher::tls::install();
    let line = world.says(&["answering /livez"], 1).await;
    let port = line.split_once("127.0.0.1:").unwrap().1.trim().to_owned();
    let prometheus = Prometheus::start(&format!("127.0.0.1:{port}")).await;
    prometheus
        .has("rate(ldap_usher_invite_delay_seconds_count[10s]) >= 0")
        .await;

    let dashboard = fs::read_to_string(packaged("grafana/ldap-usher.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let asked = query
                .replace("$job", "ldap-usher")
                .replace("$directory", ".*")
                .replace("$__rate_interval", "10s");
            assert!(!asked.contains('$'), "{query}");
            prometheus.has(&asked).await;
            queries += 1;
        }
    }
    assert!(queries > 20, "only {queries} queries were found");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else {
            continue;
        };
        let (series, _) = definition
            .strip_prefix("label_values(")
            .unwrap()
            .rsplit_once(", ")
            .unwrap();
        prometheus.has(&series.replace("$job", "ldap-usher")).await;
    }
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}").await;
    assert_eq!(firing, Some(Vec::new()));
    // An alert that needs no waiting.
    let held = prometheus
        .query("max(ldap_usher_tasks{state=\"held\"})")
        .await
        .unwrap();
    assert_eq!(held[0]["value"][1], "0");
}
