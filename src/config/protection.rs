//! Which columns of a table leave the process masked, or not at all.

use crate::encode::{Mask, MaskKey};

use super::ConfigError;
use super::raw;

/// A hash of a telephone number is found by trying all of them, unless the key cannot be guessed.
const LEAST_SALT_BYTES: usize = 16;

/// The columns of a table that are protected. Names are compared as servers compare them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protection {
    /// Columns that are not written.
    pub excluded: Vec<String>,
    /// Columns that are written masked.
    pub masks: Vec<(String, Mask)>,
    /// A table need not have these columns, because they are those of a pattern.
    pub may_lack: bool,
}

impl Protection {
    /// Whether no column is protected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.excluded.is_empty() && self.masks.is_empty()
    }

    /// The protected columns, and how they are protected, for messages.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let excluded = self.excluded.iter().map(|name| (name.as_str(), "excluded"));
        let masked = self.masks.iter().map(|(name, _)| (name.as_str(), "masked"));
        excluded.chain(masked)
    }

    /// Whether a column is not written.
    #[must_use]
    pub fn excludes(&self, column: &str) -> bool {
        self.excluded
            .iter()
            .any(|name| is_same_column(name, column))
    }

    /// What a column is masked by.
    #[must_use]
    pub fn mask(&self, column: &str) -> Option<&Mask> {
        let mut masks = self.masks.iter();
        let (_, mask) = masks.find(|(name, _)| is_same_column(name, column))?;
        Some(mask)
    }

    /// Whether rows that differ in this column alone may be the same once it is masked.
    #[must_use]
    pub fn merges(&self, column: &str) -> bool {
        matches!(self.mask(column), Some(Mask::Redact | Mask::Truncate(_)))
    }
}

/// Names of columns are the same in upper and lower case.
pub(crate) fn is_same_column(name: &str, other: &str) -> bool {
    name == other || name.to_lowercase() == other.to_lowercase()
}

/// The key of hashes. It is looked up once a mask needs it.
pub(super) struct Salt<'r> {
    raw: &'r raw::Masking,
    key: Option<MaskKey>,
}

impl<'r> Salt<'r> {
    pub(super) fn of(raw: &'r raw::Masking) -> Self {
        Self { raw, key: None }
    }

    fn key(&mut self) -> Result<MaskKey, ConfigError> {
        const KEY: &str = "mask.salt";
        const REMEDY: &str = "write mask.salt = \"env:NAME\" or \"file:PATH\", with a random secret there, such as \
                              `openssl rand -hex 32` prints";
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let Some(text) = &self.raw.salt else {
            let what = "missing, and a column is masked by sha256: without a secret, hashes of names, numbers and \
                        addresses are found by trying";
            return Err(ConfigError::at(KEY, what, REMEDY));
        };
        let secret = super::Secret::resolve(KEY, text)?;
        if secret.expose().len() < LEAST_SALT_BYTES {
            let what = format!("shorter than {LEAST_SALT_BYTES} bytes, so that it can be guessed");
            return Err(ConfigError::at(KEY, what, REMEDY));
        }
        let key = MaskKey::new(secret.expose().as_bytes());
        self.key = Some(key.clone());
        Ok(key)
    }

    /// A secret that nothing needs is a mistake.
    pub(super) fn refuse_unused(&self) -> Result<(), ConfigError> {
        if self.key.is_none() && self.raw.salt.is_some() {
            return Err(ConfigError::at(
                "mask.salt",
                "has no effect, because no column is masked by sha256",
                "leave it out, or write mask = { COLUMN = \"sha256\" } for a table",
            ));
        }
        Ok(())
    }
}

/// What is typed of a table's columns.
pub(super) fn protection(
    table: &raw::Table,
    salt: &mut Salt<'_>,
) -> Result<Protection, ConfigError> {
    const EXCLUDED: &str = "table.exclude_columns";
    const MASK: &str = "table.mask";
    let excluded = table.exclude_columns.clone();
    if !excluded.is_empty() && table.columns.is_some() {
        return Err(ConfigError::at(
            EXCLUDED,
            "has no effect beside `columns`, which lists all that is written",
            "leave one of them out",
        ));
    }
    let twice = |names: &[String]| {
        let mut numbered = names.iter().enumerate();
        let found = numbered
            .find(|(at, name)| names[..*at].iter().any(|other| is_same_column(other, name)));
        found.map(|(_, name)| name.clone())
    };
    if let Some(name) = twice(&excluded) {
        let what = format!("{name} is listed twice");
        return Err(ConfigError::at(EXCLUDED, what, "leave one out"));
    }
    let masked: Vec<String> = table.mask.keys().cloned().collect();
    if let Some(name) = twice(&masked) {
        let what = format!("{name} has two masks; names are not case-sensitive");
        return Err(ConfigError::at(MASK, what, "leave one out"));
    }
    let mut masks = Vec::with_capacity(masked.len());
    for (name, typed) in &table.mask {
        let is_it = |other: &String| is_same_column(other, name);
        if excluded.iter().any(is_it) {
            let what = format!("{name} is in exclude_columns too");
            return Err(ConfigError::at(MASK, what, "leave one of them out"));
        }
        if table
            .columns
            .as_ref()
            .is_some_and(|columns| !columns.iter().any(is_it))
        {
            let what = format!("{name} is not in `columns`, so that it is not written");
            let remedy = "correct the name, leave the mask out, or add the column to `columns`";
            return Err(ConfigError::at(MASK, what, remedy));
        }
        masks.push((name.clone(), mask(name, typed, salt)?));
    }
    Ok(Protection {
        excluded,
        masks,
        may_lack: false,
    })
}

fn mask(column: &str, typed: &str, salt: &mut Salt<'_>) -> Result<Mask, ConfigError> {
    let length = typed.strip_prefix("truncate:").map(str::parse);
    match (typed, length) {
        ("sha256", _) => salt.key().map(Mask::Sha256),
        ("redact", _) => Ok(Mask::Redact),
        (_, Some(Ok(characters @ 1..))) => Ok(Mask::Truncate(characters)),
        _ => Err(ConfigError::at(
            "table.mask",
            format!("{column} has no known mask"),
            "write \"sha256\", \"redact\", or \"truncate:2\" with the number of characters to keep, at least 1",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::parse;
    use super::*;

    const SALT: &str = "[mask]\nsalt = \"0123456789abcdef0123456789abcdef\"\n";

    fn meant(keys: &str, more: &str) -> Result<Protection, ConfigError> {
        let text = format!(
            "source.url = \"mysql://u@127.0.0.1\"\n[[table]]\nname = \"shop.T\"\n{keys}\n{more}"
        );
        Ok(parse(&text, "x")?.tables.remove(0).protection)
    }

    #[test]
    fn columns_are_excluded_and_masked_whatever_their_case() {
        let protection = meant(
            "exclude_columns = [\"ssn\"]\n\
             mask = { Email = \"sha256\", phone = \"redact\", name = \"truncate:2\" }",
            SALT,
        );
        let protection = protection.unwrap();
        assert!(protection.excludes("SSN") && !protection.excludes("email"));
        assert!(matches!(protection.mask("email"), Some(Mask::Sha256(_))));
        assert_eq!(protection.mask("NAME"), Some(&Mask::Truncate(2)));
        assert_eq!(protection.mask("ssn"), None);
        assert!(protection.merges("phone") && protection.merges("name"));
        assert!(!protection.merges("email") && !protection.merges("id"));
        assert!(!format!("{protection:?}").contains("0123456789abcdef"));
        assert!(meant("", "").unwrap().is_empty());
    }

    /// Keys of a table, what is beside it, the key that is refused, and the remedy.
    const REFUSED: &[(&str, &str, &str, &str)] = &[
        (
            "mask = { a = \"md5\" }",
            "",
            "table.mask",
            "\"sha256\", \"redact\"",
        ),
        (
            "mask = { a = \"truncate:0\" }",
            "",
            "table.mask",
            "at least 1",
        ),
        (
            "mask = { a = \"truncate:x\" }",
            "",
            "table.mask",
            "at least 1",
        ),
        (
            "mask = { a = \"truncate:-1\" }",
            "",
            "table.mask",
            "at least 1",
        ),
        ("mask = { a = \"sha256\" }", "", "mask.salt", "env:NAME"),
        (
            "mask = { a = \"sha256\" }",
            "[mask]\nsalt = \"hunter2\"",
            "mask.salt",
            "random",
        ),
        (
            "mask = { a = \"redact\" }",
            SALT,
            "mask.salt",
            "leave it out",
        ),
        (
            "mask = { a = \"redact\", A = \"redact\" }",
            "",
            "table.mask",
            "leave one out",
        ),
        (
            "exclude_columns = [\"a\", \"A\"]",
            "",
            "table.exclude_columns",
            "leave one out",
        ),
        (
            "exclude_columns = [\"a\"]\nmask = { A = \"redact\" }",
            "",
            "table.mask",
            "leave one of them out",
        ),
        (
            "exclude_columns = [\"a\"]\ncolumns = [\"b\"]",
            "",
            "table.exclude_columns",
            "leave one of them out",
        ),
        (
            "columns = [\"id\", \"email\"]\nmask = { emial = \"redact\" }",
            "",
            "table.mask",
            "correct the name",
        ),
    ];

    #[test]
    fn what_protects_nothing_or_not_enough_is_refused() {
        for (keys, more, key, said) in REFUSED {
            let error = meant(keys, more).unwrap_err();
            assert_eq!(error.key.as_deref(), Some(*key), "{keys}");
            assert!(error.remedy.contains(said), "{keys}: {}", error.remedy);
            assert!(!format!("{error} {}", error.remedy).contains("hunter2"));
        }
    }
}
