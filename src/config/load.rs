//! Finds, reads and checks the configuration.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::legacy::Legacy;
use super::problem::{KeyPath, Problems, Step, syntax_errors};
use super::schema::File;
use super::secret::{Secrets, readable_by_everyone};
use super::{Config, ConfigError, Loaded, check, escapes, legacy, reference};
use crate::store::Location;
use crate::text;

/// The default paths, in the order in which they are tried.
const PLACES: [&str; 2] = ["config.toml", "/etc/ldap-usher/config.toml"];
/// Names the source of a configuration without a file in messages.
const ENVIRONMENT: &str = "the environment";

/// Loads the configuration at `path`, else `./config.toml`, else `/etc/ldap-usher/config.toml`, and the secret files
/// that it names. If no file exists, environment variables alone can be the whole configuration.
///
/// # Errors
/// All problems at once, each with its line, its key and a remedy.
pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigError> {
    let environment = Environment::of_process();
    Source::find(path, &environment)?.load(&environment)
}

/// Where the configuration which [`load()`] would find keeps the state. Checks no other key and reads no other secret:
/// the user who runs `status` may have no access to them, and a service manager may provide them to the running service
/// only.
///
/// # Errors
/// The configuration cannot be found, read or parsed.
pub fn state(path: Option<&Path>) -> Result<Location, ConfigError> {
    service(path).map(|service| service.state)
}

/// Where a running service keeps its state, and where it can be asked how it is.
#[derive(Debug, Clone)]
pub struct Service {
    /// The place of the state.
    pub state: Location,
    /// The address of its endpoints, if it has any.
    pub listen: Option<SocketAddr>,
}

/// As [`state()`], with the address of the endpoints.
///
/// # Errors
/// Those of [`state()`].
pub fn service(path: Option<&Path>) -> Result<Service, ConfigError> {
    let environment = Environment::of_process();
    let source = Source::find(path, &environment)?;
    let secrets = source.secrets(&environment);
    let service = source.examine(&environment, |file, problems| {
        let state = check::state(file, &secrets, problems)?;
        let listen = file.http.listen;
        Some(Service { state, listen })
    });
    service.map(|(service, ..)| service)
}

/// As [`state()`], for another place of a state, which uses `[postgres]` of the configuration, if there is one.
///
/// # Errors
/// Those of [`state()`], unless there is no configuration, and those of the place.
pub fn place(path: Option<&Path>, text: &str) -> Result<Location, ConfigError> {
    let environment = Environment::of_process();
    let source = match Source::find(path, &environment) {
        Err(ConfigError::NotFound) => Source {
            name: ENVIRONMENT.to_owned(),
            text: String::new(),
            public: false,
            kind: Kind::Environment,
        },
        found => found?,
    };
    // The credential is for the configured state, even if the named place is that of its default.
    let secrets = Secrets {
        credentials: None,
        public: false,
        ..source.secrets(&environment)
    };
    let place = source.examine(&environment, |file, problems| {
        // The configured state does not matter.
        (file.state, file.state_file) = (text.to_owned(), None);
        check::state(file, &secrets, problems)
    });
    place.map(|(place, ..)| place)
}

/// A configuration in the native format, and where it comes from.
struct Source {
    name: String,
    text: String,
    /// Whether all users of this machine can read the file.
    public: bool,
    kind: Kind,
}

enum Kind {
    /// The text is the content of the file.
    Native,
    /// The text was translated from a configuration of vaultwarden_ldap.
    Legacy(Legacy),
    /// There is no text: environment variables are the whole configuration.
    Environment,
}

impl Source {
    fn find(path: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let place = || PLACES.iter().map(PathBuf::from).find(|place| place.exists());
        let missing = match path.map(Path::to_owned).or_else(place) {
            None => ConfigError::NotFound,
            Some(path) => match text::read(&path) {
                Ok(text) => return Self::of_file(&path, text, environment),
                Err(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                    return Err(ConfigError::Invalid {
                        problems: vec![format!("{}: {cause}", path.display())],
                    });
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                    ConfigError::Unreadable { path, cause }
                }
                Err(cause) => return Err(ConfigError::Unreadable { path, cause }),
            },
        };
        if legacy::is_in(environment) {
            let legacy = Legacy::of_variables(ENVIRONMENT, environment)?;
            return Ok(Self::translated(ENVIRONMENT.to_owned(), legacy, false));
        }
        // A file that the user names must exist, even if variables set every key.
        if path.is_none() && environment.has_keys() {
            return Ok(Self {
                name: ENVIRONMENT.to_owned(),
                text: String::new(),
                public: false,
                kind: Kind::Environment,
            });
        }
        Err(missing)
    }

    fn of_file(path: &Path, text: String, environment: &Environment) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let public = readable_by_everyone(path);
        let (document, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            return Err(syntax_errors(&name, &text, &errors));
        }
        if legacy::recognises(document.get_ref()) {
            let legacy = Legacy::of_file(&name, &text, document.get_ref(), environment)?;
            return Ok(Self::translated(name, legacy, public));
        }
        drop(document);
        let kind = Kind::Native;
        Ok(Self {
            name,
            text,
            public,
            kind,
        })
    }

    fn translated(name: String, legacy: Legacy, public: bool) -> Self {
        let text = legacy.text();
        let kind = Kind::Legacy(legacy);
        Self {
            name,
            text,
            public,
            kind,
        }
    }

    fn load(self, environment: &Environment) -> Result<Loaded, ConfigError> {
        let secrets = self.secrets(environment);
        let (config, warnings, effective) = self.examine(environment, |file, problems| {
            file.traces.url = file.traces.url.take().or_else(|| environment.collector());
            check::check(file, &secrets, problems)
        })?;
        let mut loaded = Loaded {
            config: Config {
                warnings,
                sessions: sessions(environment),
                ..config
            },
            effective,
            legacy: None,
        };
        if let Kind::Legacy(legacy) = self.kind {
            loaded.config.once = legacy.once;
            loaded.config.warnings.insert(0, legacy.note());
            loaded.legacy = Some(legacy);
        }
        Ok(loaded)
    }

    fn secrets(&self, environment: &Environment) -> Secrets {
        Secrets {
            trimmed: matches!(self.kind, Kind::Legacy(_)),
            credentials: environment.folder("CREDENTIALS_DIRECTORY"),
            public: self.public,
        }
    }

    /// Deserialises the configuration and passes it to `check`. Returns the result of `check`, the warnings, and the
    /// schema as `check` left it.
    fn examine<T>(
        &self,
        environment: &Environment,
        check: impl FnOnce(&mut File, &mut Problems<'_>) -> Option<T>,
    ) -> Result<(T, Vec<String>, File), ConfigError> {
        // `of_file` has already refused text with syntax errors.
        let (document, _) = DeTable::parse_recoverable(&self.text);
        let written = (self.text.as_str(), document.get_ref());
        let written = matches!(self.kind, Kind::Native).then_some(written);
        let mut problems = Problems::new(&self.name, written);
        if let Some((text, document)) = written {
            escapes::check(text, document, &reference::is_secret, &mut problems);
        }
        if let Kind::Legacy(legacy) = &self.kind {
            for (path, origin) in legacy.origins() {
                problems.comes_from(path, origin);
            }
        }
        let mut overlaid = document.clone();
        environment.overlay(overlaid.get_mut(), &mut problems);
        let mut file = deserialize(&overlaid, &mut problems);
        let checked = check(&mut file, &mut problems);
        let (checked, warnings) = problems.judge(checked)?;
        Ok((checked, warnings, file))
    }
}

/// Reads text into the schema and stops there: the checks after that open files, and fuzz input must not choose them.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let mut problems = Problems::new("config.toml", Some((text, document.get_ref())));
        let file = deserialize(&document, &mut problems);
        let _ = toml::to_string_pretty(&file);
        let _ = problems.judge(None::<()>);
    } else {
        let _ = syntax_errors("config.toml", text, &errors);
    }
}

/// Reads the document into the schema. Reports each key whose value has the wrong type, removes it and reads the rest
/// again, so that one wrong value does not hide other problems.
fn deserialize(document: &Spanned<DeTable<'_>>, problems: &mut Problems<'_>) -> File {
    let mut rest = document.clone();
    loop {
        let mut unknown = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let tracked =
            serde_path_to_error::Deserializer::new(toml::Deserializer::from(rest.clone()), &mut track);
        let result = serde_ignored::deserialize(tracked, |path| unknown.push(KeyPath::from(&path)));
        match result {
            Ok(file) => {
                for path in unknown {
                    problems.error(&path, format!("unknown key{}", reference::remedy(&path)));
                }
                return file;
            }
            Err(error) => {
                let path = KeyPath::from(&track.path());
                problems.error(&path, error.message());
                if !remove(rest.get_mut(), &path.0) {
                    return File::default();
                }
            }
        }
    }
}

/// Removes the innermost key on the way to `path`. Returns whether a key was removed.
fn remove(table: &mut DeTable<'_>, path: &[Step]) -> bool {
    let Some((Step::Key(key), below)) = path.split_first() else {
        return false;
    };
    let removed_below = match (table.get_mut(key.as_str()).map(Spanned::get_mut), below) {
        (Some(DeValue::Table(inner)), below) => remove(inner, below),
        (Some(DeValue::Array(array)), [Step::Index(index), below @ ..]) => {
            match array.get_mut(*index).map(Spanned::get_mut) {
                Some(DeValue::Table(inner)) => remove(inner, below),
                _ => false,
            }
        }
        _ => false,
    };
    removed_below || table.remove(key.as_str()).is_some()
}

/// The file in which `check` and `plan` keep a session with Vaultwarden before the state file exists. In
/// `$XDG_RUNTIME_DIR`, where that is set: the system empties it when the user logs out.
fn sessions(environment: &Environment) -> Option<PathBuf> {
    let folder = environment
        .folder("XDG_RUNTIME_DIR")
        .or_else(|| environment.folder("XDG_CACHE_HOME"))
        .or_else(|| Some(environment.folder("HOME")?.join(".cache")))?;
    Some(folder.join("ldap-usher/session"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::{Leave, LeaveAction};
    use crate::directory::{Bind, Server};
    use crate::model::EmailAddress;

    const SMALL: &str = r#"
[vaultwarden]
url = "https://vault.example.org/sub/"
admin_token = "token\n"
[[directory]]
url = "ldap://[::1]"
base_dn = "dc=example,dc=org"
"#;

    fn parsed(text: &str) -> Config {
        let environment = Environment::default();
        Source::of_file(Path::new("config.toml"), text.to_owned(), &environment)
            .and_then(|source| source.load(&environment))
            .unwrap()
            .config
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let config = parsed(SMALL);
        let [directory] = config.directories.as_slice() else {
            panic!("{config:?}")
        };
        assert_eq!(
            directory.settings.servers,
            [Server::Tcp {
                host: "::1".into(),
                port: 389,
                tls: false,
                dns: None
            }]
        );
        assert!(matches!(directory.settings.bind, Bind::Anonymous));
        assert_eq!(directory.settings.stream, None);
        assert_eq!(directory.audit_interval, None);
        assert_eq!(config.vaultwarden.url.path(), "/sub/");
        assert_eq!(config.vaultwarden.admin_token.expose_secret(), "token\n");
        assert_eq!(config.limits.invites_per_listing, Some(500));
        assert_eq!(config.http.listen.map(|address| address.port()), Some(9464));
    }

    #[test]
    fn limits_and_endpoints_can_be_switched_off() {
        let off = |listen| {
            parsed(&format!(
                "{SMALL}[limits]\ninvites_per_listing = \"unlimited\"\n[http]\nlisten = {listen:?}\n"
            ))
        };
        for config in [off("off"), off("")] {
            assert_eq!(
                (config.limits.invites_per_listing, config.http.listen),
                (None, None)
            );
        }
        let config = parsed(&format!("{SMALL}[limits]\ninvites_per_listing = 0\n"));
        assert_eq!(config.limits.invites_per_listing, Some(0));
    }

    #[test]
    fn a_directory_may_differ_in_what_follows_when_somebody_leaves() {
        let leave = |keys: &str, tables: &str| {
            let config = parsed(&format!("{SMALL}{keys}{tables}"));
            let Leave { action, grace } = config.directories[0].leave;
            (action, grace.as_secs())
        };
        let general = "[leave]\naction = \"disable\"\ngrace = \"2h\"\n";
        assert_eq!(leave("", ""), (LeaveAction::None, 3600));
        assert_eq!(leave("", general), (LeaveAction::Disable, 7200));
        assert_eq!(
            leave("leave_action = \"none\"\n", general),
            (LeaveAction::None, 7200)
        );
        assert_eq!(
            leave("leave_grace = \"0s\"\n", general),
            (LeaveAction::Disable, 0)
        );
    }

    #[test]
    fn people_are_named_by_address_or_domain() {
        let config = parsed(&format!(
            "{SMALL}[accept]\ndomains = \"example.org\"\ndeny = [\"Eve@example.org\", \"example.net\"]\n\
             [protect]\naddresses = \"Boss@example.org\"\ndomains = [\".example.org\"]\n"
        ));
        let refused = |address: &str| {
            let address = EmailAddress::parse(address.as_bytes()).unwrap();
            config.accept.refusal(&address).is_some()
        };
        let all = [
            "ann@example.org",
            "eve@example.org",
            "ann@example.net",
            "ann@x.org",
        ];
        assert_eq!(all.map(refused), [false, true, true, true]);
        let protected = |address: &str| {
            let address = EmailAddress::parse(address.as_bytes()).unwrap();
            config.protect.reason(&address).is_some()
        };
        let all = ["boss@example.org", "ann@it.example.org", "ann@example.org"];
        assert_eq!(all.map(protected), [true, true, false]);
    }

    #[test]
    fn one_newline_at_the_end_of_a_secret_file_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let toml = SMALL.replace(
            "admin_token = \"token\\n\"",
            &format!("admin_token_file = {file:?}"),
        );
        for (content, secret) in [("a b", "a b"), (" a\n", " a"), ("a\r\n", "a"), ("a\n\n", "a\n")] {
            fs::write(&file, content).unwrap();
            assert_eq!(
                parsed(&toml).vaultwarden.admin_token.expose_secret(),
                secret,
                "{content:?}"
            );
        }
    }

    #[test]
    fn a_configuration_that_is_printed_for_debugging_shows_no_secret() {
        let with_password = format!("{SMALL}bind_dn = \"cn=x\"\nbind_password = \"hidden\"\n");
        let shown = format!("{:?}", parsed(&with_password.replace("token\\n", "hidden")));
        assert!(shown.contains("cn=x") && !shown.contains("hidden"), "{shown}");
    }
}
