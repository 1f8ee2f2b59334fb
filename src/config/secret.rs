//! Values that must not be seen: written as a reference, kept out of logs.

use std::fmt;

use super::ConfigError;

/// A secret's value. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that hands it to a server.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Follows `env:NAME` and `file:PATH`; any other text is the value itself.
    ///
    /// # Errors
    /// If the variable or file cannot be read.
    pub fn resolve(key: &str, text: &str) -> Result<Self, ConfigError> {
        if let Some(name) = text.strip_prefix("env:") {
            return match std::env::var(name) {
                Ok(value) => Ok(Self(value)),
                Err(_) => Err(ConfigError::at(
                    key,
                    format!("environment variable {name} is not set"),
                    format!("set {name}, or name another one"),
                )),
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            return match std::fs::read_to_string(path) {
                Ok(value) => Ok(Self(value.trim_end_matches(['\r', '\n']).to_owned())),
                Err(error) => Err(ConfigError::at(
                    key,
                    format!("cannot read {path}: {error}"),
                    "create the file, readable by hydrant's user, with the secret in it",
                )),
            };
        }
        if text.starts_with("ssm:") {
            return Err(ConfigError::at(
                key,
                "secrets from Parameter Store are not supported yet",
                "write env:NAME or file:PATH",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn references_are_followed_and_never_printed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"hunter2\n").unwrap();
        let secret = Secret::resolve("k", &format!("file:{}", file.path().display())).unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        let error = Secret::resolve("source.password", "env:HYDRANT_TEST_UNSET").unwrap_err();
        assert!(error.to_string().contains("HYDRANT_TEST_UNSET"));
        assert!(Secret::resolve("source.password", "file:/nonexistent").is_err());
    }
}
