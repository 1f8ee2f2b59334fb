//! Values that must not be seen: written as a reference, kept out of logs.

use std::env::VarError;
use std::fmt;

use tracing::warn;

use super::ConfigError;

/// A secret's value. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Whether a name may be printed: others may be a password that was written behind `env:` by mistake.
fn is_usual_name(name: &str) -> bool {
    let taken = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().all(taken)
}

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

    fn of_variable(key: &str, name: &str) -> Result<Self, ConfigError> {
        let (named, remedy) = if is_usual_name(name) {
            (
                format!("environment variable {name}"),
                format!("set {name}, or name another one"),
            )
        } else {
            (
                "the environment variable whose name is behind env:".to_owned(),
                "set it, or name another one; a password itself stands here without env:"
                    .to_owned(),
            )
        };
        let why = match std::env::var(name) {
            Ok(value) if value.is_empty() => "is empty",
            Ok(value) => return Ok(Self(value)),
            Err(VarError::NotPresent) => "is not set",
            Err(VarError::NotUnicode(_)) => "is not UTF-8",
        };
        Err(ConfigError::at(key, format!("{named} {why}"), remedy))
    }

    /// Follows `env:NAME` and `file:PATH`; any other text is the value itself.
    ///
    /// # Errors
    /// If the variable or file cannot be read, or there is nothing in it.
    pub fn resolve(key: &str, text: &str) -> Result<Self, ConfigError> {
        let at = |what: String, remedy: String| ConfigError::at(key, what, remedy);
        if let Some(name) = text.strip_prefix("env:") {
            if name.trim().is_empty() {
                let remedy = "write the variable's name behind it, like env:DB_PASSWORD";
                return Err(at("env: without a name".to_owned(), remedy.to_owned()));
            }
            return Self::of_variable(key, name);
        }
        if let Some(path) = text.strip_prefix("file:") {
            if path.trim().is_empty() {
                let remedy = "write the file's path behind it, like file:/run/secrets/db";
                return Err(at("file: without a path".to_owned(), remedy.to_owned()));
            }
            let remedy = "create the file, readable by hydrant's user, with the secret in it";
            let value = std::fs::read_to_string(path)
                .map_err(|error| at(format!("cannot read {path}: {error}"), remedy.to_owned()))?;
            let value = value
                .trim_start_matches('\u{feff}')
                .trim_end_matches(['\r', '\n']);
            if value.is_empty() {
                return Err(at(
                    format!("{path} is empty"),
                    "write the secret into it; for a user without a password leave the key out"
                        .to_owned(),
                ));
            }
            return Ok(Self(value.to_owned()));
        }
        for (prefix, place) in [
            ("ssm:", "Parameter Store"),
            ("secretsmanager:", "Secrets Manager"),
        ] {
            if text.starts_with(prefix) {
                return Err(at(
                    format!("secrets from {place} are not supported yet"),
                    "write env:NAME or file:PATH".to_owned(),
                ));
            }
        }
        if text.is_empty() {
            return Err(at(
                "empty".to_owned(),
                "write env:NAME, file:PATH or the secret; for a user without a password leave the key out"
                    .to_owned(),
            ));
        }
        if let Some(what) = looks_like(text) {
            warn!(
                "{key} looks like {what}, but is used as the secret itself; to refer to a secret write \
                 env:NAME or file:PATH"
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a malformed reference was probably meant to be.
fn looks_like(text: &str) -> Option<&'static str> {
    let begins = |prefix: &str| {
        let start = text.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_name = |name: &str| {
        let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
        !name.is_empty() && name.chars().all(is_part)
    };
    if begins("arn:") {
        return Some(match text.split(':').nth(2) {
            Some("secretsmanager") => "the ARN of a secret in Secrets Manager",
            Some("ssm") => "the ARN of a parameter in Parameter Store",
            _ => "an ARN",
        });
    }
    let shell = text
        .strip_prefix('$')
        .map(|name| name.trim_matches(['{', '}']));
    if shell.is_some_and(is_name) {
        return Some("a variable of a shell, which is not looked up here");
    }
    for (prefix, what) in [
        ("env:", "env:NAME, which is written in small letters"),
        ("file:", "file:PATH, which is written in small letters"),
        ("ssm:", "a parameter in Parameter Store"),
        ("secretsmanager:", "a secret in Secrets Manager"),
        ("vault:", "a secret in a vault"),
        ("env ", "env:NAME with a blank"),
        (" env:", "env:NAME with a blank before it"),
        (" file:", "file:PATH with a blank before it"),
        ("{{resolve:", "a dynamic reference of CloudFormation"),
    ] {
        if begins(prefix) {
            return Some(what);
        }
    }
    None
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
        let error = Secret::resolve("source.password", "env:s3cret").unwrap_err();
        assert!(!format!("{error} {}", error.remedy).contains("s3cret"));
        assert!(Secret::resolve("source.password", "file:/nonexistent").is_err());
    }

    #[test]
    fn a_reference_to_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let file = format!("file:{}", path.display());
        for (text, content, said) in [
            ("env:", "", "without a name"),
            ("env: ", "", "without a name"),
            ("file:", "", "without a path"),
            (file.as_str(), "", "is empty"),
            (file.as_str(), "\r\n\n", "is empty"),
            ("ssm:/dev/db", "", "Parameter Store"),
            ("secretsmanager:db#password", "", "Secrets Manager"),
            ("", "", "empty"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = Secret::resolve("source.password", text).unwrap_err();
            assert!(error.to_string().contains(said), "{text:?}: {error}");
            assert!(!error.remedy.is_empty());
        }
        std::fs::write(&path, " hunter2 \r\n").unwrap();
        let secret = Secret::resolve("source.password", &file).unwrap();
        assert_eq!(secret.expose(), " hunter2 ");
    }

    #[test]
    fn what_looks_like_a_reference_is_known() {
        let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf";
        for text in [
            secret,
            "arn:aws:ssm:eu-west-1:1:parameter/db",
            "ENV:PW",
            "Env:PW",
            "FILE:/run/pw",
            "$PW",
            "${PW}",
            "SSM:/db",
            " env:PW",
            "{{resolve:secretsmanager:db}}",
        ] {
            assert!(looks_like(text).is_some(), "{text}");
            assert_eq!(
                Secret::resolve("source.password", text).unwrap().expose(),
                text
            );
        }
        for text in [
            "hunter2",
            "$",
            "${}",
            "$a-b",
            "environment:x",
            "größe",
            "p$PW",
        ] {
            assert_eq!(looks_like(text), None, "{text}");
        }
        assert!(looks_like(secret).unwrap().contains("Secrets Manager"));
    }
}
