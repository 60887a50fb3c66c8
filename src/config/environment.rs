//! What environment variables say.

use std::path::PathBuf;

/// Before the names of the variables that vaultwarden_ldap knows.
const LEGACY: &str = "APP_";

/// The environment of the process, or one made up for a test. Variables that are not UTF-8 are left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// That of this process.
    pub(super) fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self(variables.collect())
    }

    /// The value of a variable, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A folder that a variable names.
    pub(super) fn folder(&self, name: &str) -> Option<PathBuf> {
        // systemd separates several by colons.
        let first = self.get(name)?.split(':').next()?;
        Some(first.into())
    }

    /// The variables of vaultwarden_ldap, as the key each stands for, its name and its value. What is empty is left
    /// out, because composed files pass on what nobody has set.
    pub(super) fn legacy(&self) -> impl Iterator<Item = (String, &str, &str)> {
        self.0.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(LEGACY)?.to_lowercase();
            Some((key, name.as_str(), value.as_str())).filter(|_| !value.is_empty())
        })
    }

    /// The name of the variable that stands for a key of vaultwarden_ldap.
    pub(super) fn legacy_name(key: &str) -> String {
        format!("{LEGACY}{}", key.to_uppercase())
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.map(|(name, value)| (name.into(), value.into())).into())
    }
}
