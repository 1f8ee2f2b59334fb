//! PURE. Names with `*` and `?`, as in shells.

use wildmatch::WildMatch;

/// Matches whole names: `*` is any number of characters, `?` is one. Case matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern, or a name that only matches itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether a text is more than a name.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.contains(['*', '?'])
    }

    /// Whether a name is like this.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        WildMatch::new(&self.0).matches(name)
    }

    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether one of them matches.
#[must_use]
pub fn any_matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_number_of_characters_and_a_question_mark_is_one() {
        for (pattern, name, is_match) in [
            ("*", "", true),
            ("*", "prod", true),
            ("prod-*", "prod-", true),
            ("prod-*", "prod-web", true),
            ("prod-*", "Prod-web", false),
            ("prod-*", "a-prod-web", false),
            ("*-web", "prod-web", true),
            ("p*-w*b", "prod-web", true),
            ("prod-?", "prod-1", true),
            ("prod-?", "prod-12", false),
            ("prod-?", "prod-", false),
            ("prod", "prod", true),
            ("prod", "prod1", false),
            ("[a-z]*", "a", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                is_match,
                "{pattern} {name}"
            );
        }
        assert!(!any_matches(&[], "a"));
    }
}
