//! Where the state of a configuration goes that names no place for it.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::super::environment::Environment;

/// Where the state may be: the folder that systemd made for it, that of the system, that of the user.
pub(super) fn places(environment: &Environment) -> Vec<PathBuf> {
    let user = environment
        .folder("XDG_STATE_HOME")
        .or_else(|| Some(environment.folder("HOME")?.join(".local/state")));
    [
        environment.folder("STATE_DIRECTORY"),
        Some("/var/lib/ldap-usher".into()),
        user.map(|folder| folder.join("ldap-usher")),
    ]
    .into_iter()
    .flatten()
    .map(|folder| folder.join("state.db"))
    .collect()
}

/// The first place that has a state, else the first that can have one; its folder is made. Where there is none, the
/// first: what is wrong with it shows when it is opened.
pub(super) fn choose(places: &[PathBuf]) -> PathBuf {
    let exists = places.iter().find(|place| place.exists());
    let chosen = exists.or_else(|| places.iter().find(|place| can_be_made(place)));
    chosen.or_else(|| places.first()).cloned().unwrap_or_default()
}

fn can_be_made(file: &Path) -> bool {
    let probe = file.with_extension("probe");
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    folder.is_ok() && File::create(&probe).is_ok() && fs::remove_file(&probe).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_exists_is_kept_and_else_the_first_place_that_can_have_one_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("file/state.db");
        fs::write(dir.path().join("file"), "").unwrap();
        let [first, second] = ["a/b/state.db", "c/state.db"].map(|place| dir.path().join(place));
        let places = [blocked.clone(), first.clone(), second.clone()];
        assert_eq!(choose(&places), first);
        fs::create_dir(dir.path().join("c")).unwrap();
        fs::write(&second, "").unwrap();
        assert_eq!(choose(&places), second);
        assert_eq!(choose(std::slice::from_ref(&blocked)), blocked);
        assert!(!first.exists());
    }

    #[test]
    fn the_folder_of_systemd_comes_first_and_that_of_the_user_last() {
        let environment = Environment::from([("STATE_DIRECTORY", "/s:/t"), ("HOME", "/home/ann")]);
        assert_eq!(
            places(&environment),
            ["/s", "/var/lib/ldap-usher", "/home/ann/.local/state/ldap-usher"]
                .map(|folder| Path::new(folder).join("state.db"))
        );
    }
}
