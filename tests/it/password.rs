//! A reader whose password is right and lets it do nothing, or not for long.

use ldap3::Mod;

use crate::support::ds389::Ds389;
use crate::support::site::Site;
use crate::support::slapd::Slapd;
use crate::support::world::World;

const PASSWORD: &str = "quite-right";

/// An account, its policy, and what slapd keeps of its password.
fn account(name: &str, policy: &str, password: &str) -> String {
    format!(
        "dn: cn={name}-policy,ou=system,dc=example,dc=org\nobjectClass: applicationProcess\nobjectClass: pwdPolicy\n\
         cn: {name}-policy\npwdAttribute: userPassword\n{policy}\n\
         dn: cn={name},ou=system,dc=example,dc=org\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\n\
         cn: {name}\nuserPassword: {PASSWORD}\npwdPolicySubentry: cn={name}-policy,ou=system,dc=example,dc=org\n{password}\n"
    )
}

/// What `check` says of the bind as this account.
async fn bind<D>(world: &mut World<D>, url: &str, dn: &str, password: &str) -> String {
    world.directory = format!(
        "[[directory]]\nurl = {url:?}\nbase_dn = \"ou=people,dc=example,dc=org\"\nbind_dn = {dn:?}\nbind_password = {password:?}\n"
    );
    let output = world.ask(&["check"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(password), "{text}");
    text.lines()
        .find(|line| line.contains(", bind: "))
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn slapd_tells_who_may_not_bind_any_more_and_why() {
    let mut world = World::with(Slapd::builder().ppolicy()).await;
    let long_ago = "pwdChangedTime: 20200101000000Z\n";
    world.server.slapadd(
        &[
            account("expired", "pwdMaxAge: 60\n", long_ago),
            account("reset", "pwdMustChange: TRUE\n", "pwdReset: TRUE\n"),
            account("grace", "pwdMaxAge: 60\npwdGraceAuthNLimit: 99\n", long_ago),
            account(
                "expiring",
                "pwdMaxAge: 2000000000\npwdExpireWarning: 2000000000\n",
                long_ago,
            ),
        ]
        .concat(),
    );
    let url = world.server.url();
    let dn = |name: &str| format!("cn={name},ou=system,dc=example,dc=org");
    let said = bind(&mut world, &url, &dn("expired"), PASSWORD).await;
    assert!(
        said.starts_with("fail")
            && said.contains("the account's password has expired (result 49)")
            && said.contains("set a new one"),
        "{said}"
    );
    let said = bind(&mut world, &url, &dn("expired"), "quite-wrong").await;
    assert!(
        said.contains("wrong bind DN or wrong password (result 49)"),
        "{said}"
    );
    let said = bind(&mut world, &url, &dn("reset"), PASSWORD).await;
    assert!(
        said.starts_with("fail") && said.contains("the account must change its password first (result 0)"),
        "{said}"
    );

    for (name, words) in [
        ("grace", "the account's password has expired, and 9"),
        ("expiring", "the account's password expires in "),
    ] {
        let said = bind(&mut world, &url, &dn(name), PASSWORD).await;
        assert!(said.starts_with("ok"), "{said}");
        let log = String::from_utf8(world.ask(&["sync"]).await.stderr).unwrap();
        assert!(
            log.lines()
                .any(|line| line.contains("WARN") && line.contains(words) && line.contains(&dn(name))),
            "{log}"
        );
    }
    let (url, dn, password) = (url.clone(), world.server.reader_dn(), world.server.reader_pw());
    let said = bind(&mut world, &url, dn, password).await;
    assert!(said.starts_with("ok"), "{said}");
    let log = String::from_utf8(world.ask(&["sync"]).await.stderr).unwrap();
    assert!(!log.contains("password"), "{log}");
}

#[tokio::test]
async fn server_389_tells_who_may_not_bind_any_more_and_why() {
    let server = Ds389::builder()
        .config("passwordExp: on")
        .config("passwordMaxAge: 8640000")
        .config("passwordMustChange: on")
        .start()
        .await;
    let site: &dyn Site = &server;
    let (url, folk, (dn, password)) = (site.url(), site.folk(), site.reader());
    let mut world = World::on(server, String::new());
    let said = bind(&mut world, &url, &dn, &password).await;
    assert!(said.starts_with("ok"), "{said}");

    folk.modify(
        &dn,
        Mod::Replace("passwordExpirationTime", ["20200101000000Z"].into()),
    )
    .await;
    let said = bind(&mut world, &url, &dn, &password).await;
    assert!(
        said.starts_with("fail") && said.contains("the account's password has expired (result 49"),
        "{said}"
    );

    folk.modify(&dn, Mod::Replace("userPassword", [password.as_str()].into()))
        .await;
    let said = bind(&mut world, &url, &dn, &password).await;
    assert!(
        said.starts_with("fail") && said.contains("the account must change its password first (result 0"),
        "{said}"
    );
}
