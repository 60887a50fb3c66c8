//! What an administrator reads when the configuration or the command line is wrong, and how the program ends then.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::service::{Config, command, program};

const TOKEN: &str = "quite-secret-token";
const PASSWORD: &str = "quite-secret-password";

/// Runs `config show` in the folder of the configuration, so that problems name it by `config.toml`.
async fn show(dir: &Path, toml: &str) -> Output {
    write(dir, "config.toml", toml, 0o600);
    run(dir, &["config", "show"]).await
}

async fn run(dir: &Path, args: &[&str]) -> Output {
    command(Path::new("config.toml"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
}

/// The report of a configuration that must be refused.
async fn problems(toml: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "empty-file", "\n", 0o600);
    write(
        dir.path(),
        "hash",
        "$argon2id$v=19$m=65540,t=3,p=4$c2FsdA$aGFzaA\n",
        0o600,
    );
    let output = show(dir.path(), toml).await;
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    text
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A configuration without problems, and what follows it.
fn good(more: &str) -> String {
    format!(
        r#"
[vaultwarden]
url = "https://vault.example.org"
admin_token = "{TOKEN}"
[[directory]]
url = "ldaps://ldap.example.org"
base_dn = "ou=people,dc=example,dc=org"
{more}"#
    )
}

#[tokio::test]
async fn an_empty_file_says_what_is_required() {
    insta::assert_snapshot!(problems("").await, @r#"
        error: the configuration cannot be used
        config.toml: vaultwarden.url: is missing; give the address of Vaultwarden, as in "https://vault.example.org"
        config.toml: vaultwarden.admin_token: is missing; write Vaultwarden's ADMIN_TOKEN into a file and name it by `admin_token_file`
        config.toml: directory: is missing; add a [[directory]] table with `url` and `base_dn`
        "#);
}

#[tokio::test]
async fn all_problems_are_reported_together_each_with_its_line_and_key() {
    insta::assert_snapshot!(problems(r#"
state = ""
colour = "green"
[vaultwarden]
url = "https://vault.example.org/admin/"
admin_token_file = "hash"
ca_file = "no-such-file"
[[directory]]
name = "main"
urls = "ldap://ldap.example.org"
bind_dn = "cn=reader,dc=example,dc=org"
base_dn = "people"
stream = "sincrepl"
poll_interval = 60
audit_interval = "0s"
page_size = 0
invites_per_listing = 3
[[directory]]
url = ["ldap://a.example.org", "http://b.example.org", "ldap://c.example.org:99999"]
bind_password_file = "empty-file"
base_dn = "dc=example,dc=org"
filter = "(&(objectClass=person)(mail=*)"
mail_attributes = "mail, proxyAddresses"
stream = "active-dir"
[invite]
on_address_change = "ignore"
concurrency = -1
[limits]
invites_per_listing = "all"
[http]
listen = "localhost:9464"
[log]
level = "verbose"
format = "jsno"
"#).await, @r#"
        error: the configuration cannot be used
        config.toml:2: state: names no file
        config.toml:3: colour: unknown key; the top level has accept, directory, http, invite, journal_days, leave, limits, log, notify, postgres, protect, state, state_file, traces, vaultwarden
        config.toml:5: vaultwarden.url: ends in /admin; leave that out, it is added automatically
        config.toml:6: vaultwarden.admin_token_file: is the hash that Vaultwarden keeps as its ADMIN_TOKEN; give the secret from which it was made, in plain text
        config.toml:7: vaultwarden.ca_file: the CA file no-such-file cannot be read: No such file or directory (os error 2); check the path and its permissions
        config.toml:8: directory[0].url: is missing; give the address of the server, as in "ldaps://ldap.example.org"
        config.toml:10: directory[0].urls: unknown key; did you mean `url`?
        config.toml:11: directory[0].bind_dn: has no password; name its file by `bind_password_file`, or leave `bind_dn` out to bind anonymously
        config.toml:12: directory[0].base_dn: is not a DN; write it as in "ou=people,dc=example,dc=org"
        config.toml:13: directory[0].stream: unknown stream "sincrepl"; did you mean "syncrepl"?
        config.toml:14: directory[0].poll_interval: expected a time above zero with its unit, such as "60s" or "6h"
        config.toml:15: directory[0].audit_interval: expected "auto", or a time above zero with its unit, such as "60s" or "6h"
        config.toml:16: directory[0].page_size: expected a whole number of at least 1
        config.toml:17: directory[0].invites_per_listing: unknown key; it belongs in [limits]
        config.toml:18: directory[1].name: "main" is also the name of directory[0]; give each its own `name`
        config.toml:19: directory[1].url[1]: http://b.example.org has the scheme http; ldap, ldaps, ldapi and ad are known
        config.toml:19: directory[1].url[2]: ldap://c.example.org:99999 is not a URL (invalid port number); write ldaps://host, ldap://host:port or ldapi://%2Fpath
        config.toml:20: directory[1].bind_password_file: empty-file is empty; write the secret into it
        config.toml:22: directory[1].filter: at character 1, `(&(objectClass=person)(mail=*)`: this parenthesis is never closed; write `)` where what it opens ends
        config.toml:23: directory[1].mail_attributes: "mail, proxyAddresses" is not the name of an attribute; write several as a list, as in ["mail", "mailAlternateAddress"]
        config.toml:24: directory[1].stream: unknown stream "active-dir"; did you mean "active-directory"?
        config.toml:26: invite.on_address_change: unknown policy "ignore"; use one of "report", "invite"
        config.toml:27: invite.concurrency: expected a whole number of at least 1
        config.toml:29: limits.invites_per_listing: invalid value: string "all", expected a whole number or "unlimited"
        config.toml:31: http.listen: expected an address with its port, such as "127.0.0.1:9464" or "[::]:9464", or "off"
        config.toml:33: log.level: unknown level "verbose"; use one of "error", "warn", "info", "debug", "trace"
        config.toml:34: log.format: unknown format "jsno"; did you mean "json"?
        "#);
}

#[tokio::test]
async fn what_does_not_go_together_is_named() {
    insta::assert_snapshot!(problems(r#"
[vaultwarden]
url = "ftp://vault.example.org"
admin_token = "a"
admin_token_file = "b"
[[directory]]
name = "ldaps with starttls"
url = "ldaps://ldap.example.org"
starttls = true
base_dn = "dc=example,dc=org"
[[directory]]
name = "external elsewhere"
url = ["ldapi://%2Frun%2Fldapi", "ldap://ldap.example.org"]
sasl = "external"
base_dn = "dc=example,dc=org"
[[directory]]
name = "external and a password"
url = "ldapi://%2Frun%2Fldapi"
sasl = "external"
bind_dn = "cn=reader,dc=example,dc=org"
bind_password = "a"
base_dn = "dc=example,dc=org"
[[directory]]
name = "password of nobody"
url = "ldaps://ldap.example.org"
bind_password = "a"
base_dn = "dc=example,dc=org"
[[directory]]
name = "empty password"
url = "ldaps://ldap.example.org"
bind_dn = "cn=reader,dc=example,dc=org"
bind_password = ""
base_dn = "dc=example,dc=org"
[[directory]]
name = "missing file"
url = "ldaps://ldap.example.org"
bind_dn = "cn=reader,dc=example,dc=org"
bind_password_file = "no-such-file"
base_dn = "dc=example,dc=org"
[[directory]]
name = "missing file"
url = []
base_dn = "dc=example,dc=org"
[[directory]]
name = "path"
url = "ldap://ldap.example.org/dc=example,dc=org"
base_dn = "dc=example,dc=org"
[[directory]]
name = "numbers by syncrepl"
url = "ldaps://ldap.example.org"
base_dn = "dc=example,dc=org"
id_attribute = "uid number"
stream = "syncrepl"
"#).await, @r#"
        error: the configuration cannot be used
        config.toml:3: vaultwarden.url: has the scheme ftp; write it as https://vault.example.org, with the sub-path if there is one
        config.toml:5: vaultwarden.admin_token_file: there is a `admin_token` as well; keep one of the two
        config.toml:9: directory[0].starttls: works with ldap:// only, not with ldaps://ldap.example.org:636; leave it out or write ldap://
        config.toml:14: directory[1].sasl: "external" works over ldapi://, or over TLS with a `client_cert_file`, not with ldap://ldap.example.org:389; use `bind_dn` and a password
        config.toml:19: directory[2].sasl: "external" authenticates by the operating system or a client certificate; leave out `bind_dn` and the password
        config.toml:26: directory[3].bind_password: has no `bind_dn`; add it, or leave the password out to bind anonymously
        config.toml:32: directory[4].bind_password: the secret is empty
        config.toml:38: directory[5].bind_password_file: no-such-file cannot be read: No such file or directory (os error 2); check the path and its permissions
        config.toml:41: directory[6].name: "missing file" is also the name of directory[5]; give each its own `name`
        config.toml:42: directory[6].url: is missing; give the address of the server, as in "ldaps://ldap.example.org"
        config.toml:46: directory[7].url: ldap://ldap.example.org/dc=example,dc=org has more than scheme, host and port; base and filter have keys of their own
        config.toml:52: directory[8].id_attribute: "uid number" is not the name of an attribute; write it as in "uidNumber", or "auto"
        config.toml:53: directory[8].stream: "syncrepl" identifies people by the server's own UUIDs, not by `id_attribute`; leave out one of the two, or write "poll"
        "#);
}

#[tokio::test]
async fn people_are_named_by_addresses_and_domains_and_what_follows_has_its_bounds() {
    let general =
        "accounts_interval = \"0s\"\nadministrators = [\"root@example.org\", \"boss\"]\n[[directory]]";
    let toml = good(
        r#"leave_action = "disabled"
leave_grace = "-1h"
[invite]
hold = "some"
on_deleted = "reinvite"
resend_after = "59m"
resend_limit = -1
[accept]
domains = ["example.org", "@example.org", ".exa mple.org", "*.example.org"]
deny = ["ann@", "eve@example.org", "guests"]
[protect]
addresses = "example.org"
domains = "ann@example.org"
[leave]
action = "deauthorise"
grace = 0
[limits]
leavers_per_listing = "none"
leavers_percent = 101
leavers_per_hour = -1
"#,
    );
    insta::assert_snapshot!(problems(&toml.replace("[[directory]]", general)).await, @r#"
        error: the configuration cannot be used
        config.toml:5: vaultwarden.accounts_interval: expected a time above zero with its unit, such as "60s" or "6h"
        config.toml:6: vaultwarden.administrators[1]: "boss" is not an e-mail address: missing separator character '@'; write it as in "ann@example.org"
        config.toml:10: directory[0].leave_action: unknown action "disabled"; did you mean "disable"?
        config.toml:11: directory[0].leave_grace: expected a time with its unit, such as "1h" or "0s"
        config.toml:13: invite.hold: unknown word "some"; use one of "none", "all"
        config.toml:14: invite.on_deleted: unknown policy "reinvite"; did you mean "invite"?
        config.toml:15: invite.resend_after: is shorter than an hour, and each reminder is a mail; write at least "1h", or `resend_limit = 0` for no reminders
        config.toml:16: invite.resend_limit: expected a whole number
        config.toml:18: accept.domains[1]: "@example.org" is not the name of a domain; write it as in "example.org", or ".example.org" for every domain below it
        config.toml:18: accept.domains[2]: ".exa mple.org" is not the name of a domain; write it as in "example.org", or ".example.org" for every domain below it
        config.toml:18: accept.domains[3]: "*.example.org" is not the name of a domain; write it as in "example.org", or ".example.org" for every domain below it
        config.toml:19: accept.deny[0]: "ann@" is not an e-mail address: domain is empty; write it as in "ann@example.org"
        config.toml:21: protect.addresses: "example.org" is not an e-mail address: missing separator character '@'; write it as in "ann@example.org"
        config.toml:22: protect.domains: "ann@example.org" is not the name of a domain; write it as in "example.org", or ".example.org" for every domain below it
        config.toml:24: leave.action: unknown action "deauthorise"; did you mean "deauthorize"?
        config.toml:25: leave.grace: expected a time with its unit, such as "1h" or "0s"
        config.toml:27: limits.leavers_per_listing: invalid value: string "none", expected a whole number or "unlimited"
        config.toml:28: limits.leavers_percent: expected a whole number from 0 to 100, or "unlimited"
        config.toml:29: limits.leavers_per_hour: invalid value: integer `-1`, expected a whole number or "unlimited"
        "#);
}

#[tokio::test]
async fn the_keys_of_people_are_kept_as_written_and_deletion_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let toml = good(
        r#"leave_action = "delete"
leave_grace = "0s"
[accept]
domains = ["Example.org", ".example.org"]
deny = "eve@example.org"
[protect]
domains = ".admins.example.org"
[leave]
action = "delete"
[limits]
leavers_percent = "unlimited"
"#,
    );
    let output = show(dir.path(), &toml).await;
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stderr(&output), @r#"
        warning: config.toml:8: directory[0].leave_action: deletes the vaults of people who leave, and a deleted vault cannot be restored; "disable" is reversible
        warning: config.toml:16: leave.action: deletes the vaults of people who leave, and a deleted vault cannot be restored; "disable" is reversible
        "#);
    let shown = stdout(&output);
    for line in [
        "leave_action = \"delete\"",
        "leave_grace = \"0s\"",
        "deny = [\"eve@example.org\"]",
        "domains = [\".admins.example.org\"]",
        "grace = \"1h\"",
        "leavers_percent = \"unlimited\"",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is missing in:\n{shown}"
        );
    }
    assert_eq!(stdout(&show(dir.path(), &shown).await), shown);
}

#[tokio::test]
async fn controllers_are_hosts_and_are_named_beside_a_domain_only() {
    let table = |url: &str, controllers: &str| {
        let directory =
            format!("[[directory]]\nurl = \"{url}\"\nbase_dn = \"dc=x\"\ncontrollers = {controllers}\n");
        format!("[vaultwarden]\nurl = \"https://v\"\nadmin_token = \"x\"\n{directory}")
    };
    let words = problems(&table("ldaps://dc1.example.org", "\"dc1.example.org\"")).await;
    assert!(
        words.contains("directory[0].controllers: is for `url = \"ad:DOMAIN\"`"),
        "{words}"
    );
    let words = problems(&table("ad:example.org", "[\"*.example.net\", \".example.net\"]")).await;
    assert!(
        words.contains("controllers: \"*.example.net\" is not the name of a host")
            && !words.contains("\"ad:DOMAIN\""),
        "{words}"
    );
}

#[tokio::test]
async fn tables_of_another_kind_are_explained() {
    insta::assert_snapshot!(problems("vaultwarden = 3\ninvite = \"report\"\n[directory]\nurl = \"ldaps://x\"\n").await, @r#"
        error: the configuration cannot be used
        config.toml:1: vaultwarden: invalid type: integer `3`, expected a table
        config.toml:2: invite: invalid type: string "report", expected a table
        config.toml:3: directory: invalid type: map, expected a table in double brackets: [[directory]]
        "#);
}

#[tokio::test]
async fn every_syntax_error_has_its_line() {
    insta::assert_snapshot!(problems("state = /var/lib\n\n[vaultwarden]\nurl = \"https://a\nadmin_token = x\nurl = 3\n[http\n").await, @r#"
        error: the configuration cannot be used
        config.toml:1: string values must be quoted, expected literal string
        config.toml:4: invalid basic string, expected `"`
        config.toml:5: string values must be quoted, expected literal string
        config.toml:6: duplicate key
        config.toml:7: unclosed table, expected `]`
        "#);
}

#[tokio::test]
async fn a_backslash_in_double_quotes_is_explained_whether_or_not_it_begins_an_escape() {
    let wrong = good(
        r#"bind_dn = "EXAMPLE\ldap"
bind_password = "quite\secret"
groups = ["CN=Doe\, Ann,DC=example,DC=org"]
filter = "(cn=\2a)"
"#,
    );
    insta::assert_snapshot!(problems(&wrong).await, @r"
        error: the configuration cannot be used
        config.toml:8: in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\reader'
        config.toml:9: in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\reader'
        config.toml:10: in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\reader'
        config.toml:11: in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\reader'
        ");
    let misread = good(
        r#"bind_dn = "LAB\reader"
bind_password = 'a\t'
groups = ['CN=a,DC=example', "LAB\nextcloud"]
name = "LAB\test"
"#,
    );
    insta::assert_snapshot!(problems(&misread).await, @r"
        error: the configuration cannot be used
        config.toml:8: directory[0].bind_dn: holds the control character \r: in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\reader'
        config.toml:10: directory[0].groups[1]: holds the control character \n: in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\reader'
        config.toml:11: directory[0].name: holds the control character \t: in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\reader'
        ");
    let legacy = r#"vaultwarden_url = "https://vault.example.org"
vaultwarden_admin_token = "a"
ldap_host = "ldap.example.org"
ldap_bind_dn = "LAB\reader"
ldap_bind_password = "a"
ldap_search_base_dn = "dc=example,dc=org"
ldap_search_filter = "(uid=*)"
"#;
    let text = problems(legacy).await;
    assert!(
        text.contains("config.toml:4: ldap_bind_dn: holds the control character \\r: in double"),
        "{text}"
    );
    // A password may be meant so.
    let dir = tempfile::tempdir().unwrap();
    let output = show(
        dir.path(),
        &good("bind_dn = 'LAB\\reader'\nbind_password = \"p\\tw\"\n"),
    )
    .await;
    assert_eq!(output.status.code(), Some(0));
    let warning = stderr(&output);
    assert!(
        warning.contains("bind_password: holds the control character \\t"),
        "{warning}"
    );
}

#[tokio::test]
async fn several_servers_in_one_text_are_a_list() {
    let dir = tempfile::tempdir().unwrap();
    for urls in [
        "ldaps://a.example.org ldaps://b.example.org:3636",
        "ldaps://a.example.org,ldaps://b.example.org:3636",
        " ldaps://a.example.org ,\tldaps://b.example.org:3636, ",
    ] {
        let toml = good("")
            .replace("ldaps://ldap.example.org", urls)
            .replace('\t', "\\u0020");
        let output = show(dir.path(), &toml).await;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new()),
            "{urls}"
        );
        let shown = stdout(&output);
        assert!(
            shown.contains("    \"ldaps://a.example.org\",\n    \"ldaps://b.example.org:3636\",\n"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn addresses_and_names_that_are_not_one_are_told_apart() {
    insta::assert_snapshot!(problems(r#"
[vaultwarden]
url = "vault.example.org:8080"
admin_token = "a"
[[directory]]
name = "a"
url = ["ldap.example.org:636", "ldap.example.org:389", "10.0.0.1", "ldaps:ldap.example.org", "ldap://a.example.org,b.example.org", "a.example.org b.example.org"]
base_dn = "ou=people,dc=example,dc=org ou=staff,dc=example,dc=org"
groups = "cn=a,dc=example,dc=org;cn=b,dc=example,dc=org"
[[directory]]
name = "b"
url = "ldaps://ldap.example.org"
base_dn = ["ou=people,dc=example,dc=org", "ou=staff,dc=example,dc=org"]
[[directory]]
name = "c"
url = "ldaps://user:pass@ldap.example.org ldaps://b.example.org"
base_dn = "ou=people,dc=example,dc=org|ou=staff,dc=example,dc=org"
[http]
hosts = ["http://usher.example.org:9464"]
"#).await, @r#"
        error: the configuration cannot be used
        config.toml:3: vaultwarden.url: has no scheme; write it as https://vault.example.org, with the sub-path if there is one
        config.toml:7: directory[0].url[0]: ldap.example.org:636 has no scheme; write ldaps://ldap.example.org:636, or ldap://ldap.example.org:636 with `starttls = true`
        config.toml:7: directory[0].url[1]: ldap.example.org:389 has no scheme; write ldap://ldap.example.org:389 with `starttls = true`, or ldaps:// with the port for TLS
        config.toml:7: directory[0].url[2]: 10.0.0.1 has no scheme; write ldaps://10.0.0.1, or ldap://10.0.0.1 with `starttls = true`
        config.toml:7: directory[0].url[3]: ldaps:ldap.example.org has no slashes after its scheme; write ldaps://
        config.toml:7: directory[0].url[4]: ldap://a.example.org,b.example.org contains a space or a comma; write several servers as a list, each with its scheme, as in ["ldaps://a.example.org", "ldaps://b.example.org"]
        config.toml:7: directory[0].url[5]: a.example.org b.example.org contains a space or a comma; write several servers as a list, each with its scheme, as in ["ldaps://a.example.org", "ldaps://b.example.org"]
        config.toml:8: directory[0].base_dn: looks like several DNs in one text; give each base a [[directory]] table of its own (if it is one DN, write its second = as \3d)
        config.toml:9: directory[0].groups: looks like several DNs in one text; write a list, as in ["cn=a,dc=example,dc=org", "cn=b,dc=example,dc=org"] (if it is one DN, write its second = as \3d)
        config.toml:13: directory[1].base_dn: invalid type: sequence, expected one DN in quotes; each base needs a [[directory]] table of its own
        config.toml:16: directory[2].url[0]: holds a user or a password; write them as `bind_dn` and `bind_password_file`
        config.toml:17: directory[2].base_dn: looks like several DNs in one text; give each base a [[directory]] table of its own (if it is one DN, write its second = as \3d)
        config.toml:19: http.hosts: "http://usher.example.org:9464" is not the name of a host; write it without scheme and port, as in "usher.example.org"
        "#);
    // One DN each, however odd.
    for base in [
        "ou=people, dc=example, dc=org",
        "ou = people,dc=example",
        r#"cn=a\ b\=c,dc=example"#,
        r#"o=\"a b=c\",dc=example"#,
        "ou=people;dc=example;dc=org",
        "o=Example and Sons,c=US",
        r"o=a b\3dc,dc=example",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let base = format!("'{}'", base.replace("\\\"", "\""));
        let toml = good("").replace("\"ou=people,dc=example,dc=org\"", &base);
        let output = show(dir.path(), &toml).await;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new()),
            "{base}"
        );
    }
}

#[tokio::test]
async fn a_configuration_is_read_however_an_editor_encodes_it() {
    let dir = tempfile::tempdir().unwrap();
    let text = good("name = \"Müller\"\n").replace('\n', "\r\n");
    let path = dir.path().join("config.toml");
    let shown = async |bytes: Vec<u8>| {
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        run(dir.path(), &["config", "show"]).await
    };
    let utf16 = std::iter::once(0xfeff).chain(text.encode_utf16());
    for bytes in [
        format!("\u{feff}{text}").into_bytes(),
        utf16.clone().flat_map(u16::to_le_bytes).collect(),
        utf16.flat_map(u16::to_be_bytes).collect(),
    ] {
        let output = shown(bytes).await;
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        assert!(stdout(&output).contains("name = \"Müller\""));
    }
    let latin1 = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    let output = shown(latin1).await;
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output), @r"
        error: the configuration cannot be used
        config.toml: is not UTF-8 text; save it as UTF-8
        ");
}

#[tokio::test]
async fn no_report_repeats_a_secret() {
    for toml in [
        good("bind_dn = \"cn=x\"\nbind_password = 421337\n"),
        good("bind_dn = \"cn=x\"\nbind_password = 421337x\n"),
        good("bind_dn = \"cn=x\"\nbind_password = \"421337\n"),
        good("bind_dn = \"cn=x\"\nbind_passwort = \"421337\"\n"),
        good("bind_dn = \"cn=x\"\nbind_password = [\"421337\"]\n"),
        good("").replace("https://", "https://user:421337@"),
        good("").replace("ldaps://", "ldaps://user:421337@"),
        good("").replace("ldaps://", "ldap s://user:421337@"),
        good("").replace("https://", "ftp://user:421337@"),
        good("").replace(TOKEN, "$argon2id$421337"),
    ] {
        let report = problems(&toml).await;
        assert!(!report.contains("421337") && !report.contains(TOKEN), "{report}");
    }
}

#[tokio::test]
async fn the_effective_configuration_is_shown_without_secrets_and_is_one_itself() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "password", &format!("{PASSWORD}\n"), 0o600);
    let output = show(
        dir.path(),
        &good("bind_dn = \"cn=x\"\nbind_password_file = \"password\"\n"),
    )
    .await;
    let shown = stdout(&output);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    insta::assert_snapshot!(shown, @r#"
        state = "/var/lib/ldap-usher/state.db"
        journal_days = 400

        [postgres]
        tls_verify = true
        tls_pin = []

        [vaultwarden]
        url = "https://vault.example.org"
        admin_token = "(set)"
        tls_verify = true
        tls_pin = []
        accounts_interval = "1h"
        administrators = []

        [[directory]]
        name = "main"
        url = ["ldaps://ldap.example.org"]
        controllers = []
        starttls = false
        tls_verify = true
        tls_pin = []
        bind_dn = "cn=x"
        bind_password = "(set, from file password)"
        base_dn = "ou=people,dc=example,dc=org"
        filter = "(objectClass=inetOrgPerson)"
        groups = []
        mail_attributes = ["mail"]
        id_attribute = "auto"
        disabled_accounts = "auto"
        stream = "auto"
        poll_interval = "1m"
        audit_interval = "auto"
        page_size = 500
        max_message_size = "16MiB"

        [invite]
        hold = "none"
        on_address_change = "report"
        on_deleted = "respect"
        resend_after = "4days"
        resend_limit = 2
        concurrency = 8
        resend_unknown_after = "3m"

        [accept]
        domains = []
        deny = []

        [protect]
        addresses = []
        domains = []

        [leave]
        action = "none"
        grace = "1h"

        [limits]
        invites_per_listing = 500
        invites_per_hour = 500
        addresses_per_person = 2
        leavers_per_listing = 10
        leavers_percent = 5
        leavers_per_hour = 20

        [notify]
        events = [
            "joined",
            "rejoined",
            "left",
            "without-address",
            "lost-address",
            "changed-address",
            "shares-address",
            "invited",
            "leaving",
            "carried-out",
            "account-changed",
            "held",
            "quarantined",
        ]
        command = []
        ping_interval = "1m"
        tls_verify = true
        tls_pin = []

        [http]
        listen = "127.0.0.1:9464"
        hosts = []

        [traces]
        tls_verify = true
        tls_pin = []

        [log]
        level = "info"
        format = "text"
        "#);

    let again = show(dir.path(), &shown).await;
    assert_eq!(
        stdout(&again),
        shown.replace("(set, from file password)", "(set)")
    );
}

#[tokio::test]
async fn the_place_of_the_state_is_checked_and_shown_without_its_password() {
    let shows = async |toml: &str, mode: u32| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "config.toml", toml, mode);
        write(
            dir.path(),
            "url",
            "postgres://usher:pa55w0rd@db.example.org/usher\n",
            0o600,
        );
        let output = run(dir.path(), &["config", "show"]).await;
        let all = stdout(&output) + &stderr(&output);
        assert!(!all.contains("pa55w0rd"), "{all}");
        all
    };
    let url = "state = \"postgres://usher:pa55w0rd@db.example.org/usher";
    for (state, mode, parts) in [
        (
            format!("{url}\""),
            0o600,
            &["state = \"postgres://usher@db.example.org/usher\""][..],
        ),
        (
            format!("{url}\""),
            0o644,
            &["state: everyone on this machine can read this file"],
        ),
        (
            format!("{url}?sslmode=disable\""),
            0o600,
            &["cross the network in clear text"],
        ),
        (
            format!("{url}?sslmode=prefer\""),
            0o600,
            &["error: ", "verify-full"],
        ),
        (
            "state_file = \"url\"".to_owned(),
            0o600,
            &["state_file = \"url\""],
        ),
        (
            "state = \"state.db\"\nstate_file = \"url\"".to_owned(),
            0o600,
            &["keep one of the two"],
        ),
        (
            "postgres.instance = \"one\"".to_owned(),
            0o600,
            &["postgres: has no effect, because the state is in a file"],
        ),
    ] {
        let shown = shows(&format!("{state}\n{}", good("")), mode).await;
        for part in parts {
            assert!(shown.contains(part), "{state}: {shown}");
        }
        let warns = ["warning: ", "error: "].iter().any(|level| shown.contains(level));
        let expects = parts.iter().any(|part| !part.starts_with("state"));
        assert_eq!(warns, expects || mode == 0o644, "{state}: {shown}");
    }
}

#[tokio::test]
async fn what_is_unwise_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "token", TOKEN, 0o644);
    write(
        dir.path(),
        "config.toml",
        r#"
[vaultwarden]
url = "http://vaultwarden"
admin_token_file = "token"
tls_verify = false
[[directory]]
url = ["ldap://localhost", "ldap://[::1]:3389", "ldap://ldap.example.org"]
bind_dn = "cn=reader,dc=example,dc=org"
bind_password = "a"
base_dn = "dc=example,dc=org"
tls_verify = false
"#,
        0o644,
    );
    let output = run(dir.path(), &["config", "show"]).await;
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stderr(&output), @r"
        warning: config.toml:3: vaultwarden.url: sends the admin token in clear text to another host; use https://
        warning: config.toml:4: vaultwarden.admin_token_file: everyone on this machine can read token; chmod o-r it
        warning: config.toml:5: vaultwarden.tls_verify: certificates are not verified, so anyone on the network path can read and change the traffic; name the authority by `ca_file`
        warning: config.toml:7: directory[0].url: the bind password goes to ldap://ldap.example.org:389 in clear text; use ldaps://, or set `starttls = true`
        warning: config.toml:9: directory[0].bind_password: everyone on this machine can read this file; chmod o-r it, or put the secret into a file of its own
        warning: config.toml:11: directory[0].tls_verify: certificates are not verified, so anyone on the network path can read and change the traffic; name the authority by `ca_file`
        ");
}

#[tokio::test]
async fn the_token_of_the_status_page_is_long_and_other_machines_need_tls_in_front() {
    let dir = tempfile::tempdir().unwrap();
    let shown = async |http: &str| {
        let output = show(dir.path(), &format!("{}[http]\n{http}", good(""))).await;
        let line = stderr(&output)
            .lines()
            .find(|line| line.contains("http."))
            .map(str::to_owned);
        (output.status.code(), line.unwrap_or_default(), stdout(&output))
    };
    let (code, line, _) = shown("admin_token = \"too short\"").await;
    assert_eq!(code, Some(2));
    assert!(
        line.contains("http.admin_token: has fewer than 16 characters"),
        "{line}"
    );
    let long = "admin_token = \"0123456789abcdef\"\n";
    let (code, line, effective) = shown(long).await;
    assert_eq!((code, line.as_str()), (Some(0), ""));
    assert!(effective.contains("admin_token = \"(set)\"") && !effective.contains("0123456789abcdef"));
    for (keys, warning) in [
        (String::new(), "set `admin_token`"),
        (long.to_owned(), "would send the token in clear text"),
    ] {
        let (code, line, _) = shown(&format!("listen = \"0.0.0.0:9464\"\n{keys}")).await;
        assert_eq!(code, Some(0));
        assert!(line.starts_with("warning: ") && line.contains(warning), "{line}");
    }
}

#[tokio::test]
async fn a_connection_that_stays_on_this_machine_needs_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    let toml = good("bind_dn = \"cn=x\"\nbind_password = \"a\"\n")
        .replace("https://vault.example.org", "http://127.0.0.1:8000");
    for url in [
        "ldap://localhost",
        "ldap://127.0.0.1:3389",
        "ldap://[::1]",
        "ldapi://%2Frun%2Fslapd%2Fldapi",
    ] {
        let output = show(dir.path(), &toml.replace("ldaps://ldap.example.org", url)).await;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new()),
            "{url}"
        );
    }
}

#[tokio::test]
async fn the_examples_have_no_problems() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let dir = tempfile::tempdir().unwrap();
    for name in ["secret", "admin_token", "bind_password"] {
        write(dir.path(), name, "s", 0o600);
    }
    let mut count = 0;
    for example in std::fs::read_dir(examples).unwrap() {
        let path = example.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let toml = std::fs::read_to_string(path)
            .unwrap()
            .replace("/run/secrets/admin_token", "secret")
            .replace("/run/secrets/bind_password", "secret");
        write(dir.path(), "config.toml", &toml, 0o600);
        let mut show = command(Path::new("config.toml"));
        show.args(["config", "show"]).current_dir(dir.path());
        // What systemd passes to a service, for the example that uses it.
        let output = show
            .env("CREDENTIALS_DIRECTORY", dir.path())
            .output()
            .await
            .unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn each_kind_of_server_has_a_page_and_a_configuration_and_they_name_no_file_that_is_not_there() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let all: Vec<_> = std::fs::read_dir(&examples)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    for server in ["389-ds", "active-directory", "lldap", "openldap"] {
        for file in [format!("{server}.md"), format!("{server}.toml")] {
            assert!(all.contains(&file), "{file} is missing");
        }
    }
    for name in &all {
        let text = std::fs::read_to_string(examples.join(name)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(all.iter().any(|file| file == link), "{name} links to {link}");
        }
        if let Some((server, _)) = name
            .split_once(".toml")
            .filter(|(server, _)| *server != "systemd")
        {
            assert!(
                text.contains(&format!("{server}.md")),
                "{name} does not name its page"
            );
        }
    }
}

#[tokio::test]
async fn the_configuration_is_found_by_argument_then_environment_then_folder() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["argument", "environment", "config.toml"] {
        write(
            dir.path(),
            name,
            &good("").replace("[vaultwarden]", &format!("state = \"{name}\"\n[vaultwarden]")),
            0o600,
        );
    }
    let shown = async |args: &[&str], environment: Option<&str>| {
        let mut command = tokio::process::Command::new(program());
        command
            .args(["config", "show"])
            .args(args)
            .current_dir(dir.path())
            .env_remove("CONFIG_PATH");
        command.envs(environment.map(|path| ("CONFIG_PATH", path)));
        stdout(&command.output().await.unwrap())
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        shown(&["--config", "argument"], Some("environment")).await,
        "state = \"argument\""
    );
    assert_eq!(shown(&[], Some("environment")).await, "state = \"environment\"");
    assert_eq!(shown(&[], None).await, "state = \"config.toml\"");
    assert_eq!(shown(&[], Some("")).await, "state = \"config.toml\"");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["run"]).await;
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output), @r"error: the configuration config.toml cannot be read: No such file or directory (os error 2); check the path and its permissions");
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    let config = Config::new(&good(""));
    for args in [
        &["walk"][..],
        &[],
        &["approve"],
        &["approve", "--all", "ann@example.org"],
        &["status", "--yaml"],
    ] {
        let output = config.ask(args).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[tokio::test]
async fn the_help_documents_commands_and_exit_codes() {
    let output = Config::new("").ask(&["--help"]).await;
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stdout(&output), @r"
        Invites people into Vaultwarden the moment they appear in your LDAP directory

        Usage: ldap-usher [OPTIONS] <COMMAND>

        Commands:
          run          Run the service: follow changes and invite people, until SIGTERM
          sync         List every directory once, deliver what is due, and exit; for cron
          plan         Show what `sync` would do and why; change nothing
          watch        Print each change as it arrives, without acting, until Ctrl-C
          check        Show what works, what does not, and what to do about it
          status       Show members, invitations and directories, whether or not the service runs
          healthcheck  Ask the running service how it is; exit code 0 if it is well, otherwise 1; for
                       containers
          explain      Show one person: what happened, the current state, and what happens next
          journal      Print what happened to people, oldest first
          notify       Send a test event to each receiver of notifications
          config       Show or migrate the configuration
          state        Back up the state, or move it between an SQLite file and PostgreSQL
          approve      Show what a limit holds back, invitations and accounts of leavers, and let it be done
          discard      Show what a limit holds back, and drop it
          invite       Invite one person now, whatever held the invitation back or ended it
          adopt        Take existing accounts of members into care, so that they can be disabled when people
                       leave; mails nobody
          forget       Forget what is known of a person, or make the people of a removed directory leavers
          retry        Show what is in quarantine, because Vaultwarden rejected it permanently, and try it
                       again
          completions  Print a script that completes this command line in a shell
          man          Print the manual page, or write one for each command into a folder

        Options:
              --config <PATH>  The configuration file; default: $CONFIG_PATH, ./config.toml or
                               /etc/ldap-usher/config.toml
          -h, --help           Print help
          -V, --version        Print version

        Exit codes:
          0  done
          1  failed
          2  the command line or the configuration cannot be used
          3  another process uses the state file
          4  sync: something is held, quarantined or still to be delivered
        ");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let config = Config::new(&good(""));
    let mut child = command(&config.path())
        .args(["config", "show"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[tokio::test]
async fn traces_of_opentelemetry_need_a_program_that_was_built_for_them() {
    let ask = async |keys: &str| {
        let toml = format!(
            "[vaultwarden]\nurl = \"https://vault.example.org\"\nadmin_token = \"t\"\n[[directory]]\nbase_dn = \"dc=example,dc=org\"\n\
             url = \"ldaps://ldap.example.org\"\n[traces]\n{keys}"
        );
        let output = Config::new(&toml).ask(&["config", "show"]).await;
        (output.status.code(), stderr(&output))
    };
    let (code, said) = ask("url = \"http://collector:4318/v1/traces\"\nheaders = \"X-Key: k\"").await;
    if cfg!(feature = "otel") {
        assert!(
            code == Some(0) && said.contains("sends `headers` in clear text"),
            "{said}"
        );
    } else {
        assert!(
            code == Some(2) && said.contains("without OpenTelemetry"),
            "{said}"
        );
    }
    let (code, said) = ask("headers = \"no header\"").await;
    assert!(
        code == Some(2) && said.contains("line 1 is not a header"),
        "{said}"
    );
    let (code, said) = ask("url = \"http://user:key@collector\"").await;
    assert!(code == Some(2) && !said.contains("key@"), "{said}");
}

#[tokio::test]
async fn kerberos_needs_tls_no_password_and_a_program_that_knows_it() {
    let ask = async |keys: &str| {
        let toml = format!(
            "[vaultwarden]\nurl = \"https://vault.example.org\"\nadmin_token = \"t\"\n[[directory]]\nbase_dn = \"dc=example,dc=org\"\n\
             sasl = \"gssapi\"\n{keys}"
        );
        let output = Config::new(&toml).ask(&["config", "show"]).await;
        (output.status.code(), stderr(&output))
    };
    let (code, said) = ask("url = \"ldaps://dc1.example.org\"").await;
    if cfg!(feature = "kerberos") {
        assert_eq!((code, said), (Some(0), String::new()));
    } else {
        assert!(code == Some(2) && said.contains("ldap-usher-kerberos"), "{said}");
    }
    let (code, said) = ask("url = \"ldap://dc1.example.org\"").await;
    let expected = if cfg!(feature = "kerberos") {
        "works over TLS"
    } else {
        "ldap-usher-kerberos"
    };
    assert!(code == Some(2) && said.contains(expected), "{said}");
    let (code, said) =
        ask("url = \"ldaps://dc1.example.org\"\nbind_dn = \"a=b\"\nbind_password = \"c\"").await;
    assert!(code == Some(2) && said.contains("leave out `bind_dn`"), "{said}");
}
