//! Chooses the state file for a configuration of vaultwarden_ldap, which names none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::super::environment::Environment;

/// The possible paths, in order: only `$STATE_DIRECTORY` if systemd sets it, else the folder of the system, then that of
/// the user.
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

/// The first path that exists, else the first where a file can be created. If there is none, the first path: opening it
/// reports what is wrong.
pub(super) fn choose(places: &[PathBuf]) -> PathBuf {
    let exists = places.iter().find(|place| place.exists());
    let chosen = exists.or_else(|| places.iter().find(|place| can_be_created(place)));
    chosen.or_else(|| places.first()).cloned().unwrap_or_default()
}

/// Whether the file and its missing folders can be created. Creates a file in the innermost folder that exists and
/// removes it at once, so that `config show` leaves nothing behind.
fn can_be_created(file: &Path) -> bool {
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
