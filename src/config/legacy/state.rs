//! Where the state of a configuration goes that names no place for it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::super::environment::Environment;

/// Where the state may be: in the folder that systemd made for it and nowhere else; without one in that of the
/// system, or in that of the user.
pub(super) fn places(environment: &Environment) -> Vec<PathBuf> {
    if let Some(folder) = environment.folder("STATE_DIRECTORY") {
        return vec![folder.join("state.db")];
    }
    let user = environment
        .folder("XDG_STATE_HOME")
        .or_else(|| Some(environment.folder("HOME")?.join(".local/state")));
    let user = user.map(|folder| folder.join("ldap-usher"));
    [Some("/var/lib/ldap-usher".into()), user]
        .into_iter()
        .flatten()
        .map(|folder: PathBuf| folder.join("state.db"))
        .collect()
}

/// The first place that has a state, else the first that can have one. Where there is none, the first: what is wrong
/// with it shows when it is opened.
pub(super) fn choose(places: &[PathBuf]) -> PathBuf {
    let exists = places.iter().find(|place| place.exists());
    let chosen = exists.or_else(|| places.iter().find(|place| can_be_made(place)));
    chosen.or_else(|| places.first()).cloned().unwrap_or_default()
}

/// Whether the file and those of its folders that are missing can be made. That is tried in the folder that exists, and
/// nothing of it stays: a configuration that is only looked at must leave no trace.
fn can_be_made(file: &Path) -> bool {
    let mut folders = file.ancestors().skip(1);
    let Some(folder) = folders.find(|folder| folder.exists()) else {
        return false;
    };
    let probe = folder.join(format!(".ldap-usher-{}", std::process::id()));
    File::create(&probe).is_ok() && fs::remove_file(&probe).is_ok()
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
        assert!(!dir.path().join("a").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_folder_of_systemd_is_the_only_place_and_without_it_that_of_the_user_is_the_last() {
        let at = |folder: &str| Path::new(folder).join("state.db");
        let environment = Environment::from([("STATE_DIRECTORY", "/s:/t"), ("HOME", "/home/ann")]);
        assert_eq!(places(&environment), [at("/s")]);
        let environment = Environment::from([("HOME", "/home/ann")]);
        let expected = [at("/var/lib/ldap-usher"), at("/home/ann/.local/state/ldap-usher")];
        assert_eq!(places(&environment), expected);
    }
}
