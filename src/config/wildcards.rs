//! PURE. Patterns of names: `*` is any number of characters, `?` is one, `[0-9]` one of these, `[!0-9]` one of all others.
//!
//! wildmatch has no sets, and globset takes a byte for a character.

/// What one or more characters of a name must be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    AnyNumber,
    AnyOne,
    One(char),
    OneOf {
        ranges: Vec<(char, char)>,
        is_negated: bool,
    },
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::AnyNumber | Self::AnyOne => true,
            Self::One(one) => *one == character,
            Self::OneOf { ranges, is_negated } => {
                let mut ranges = ranges.iter();
                ranges.any(|(first, last)| (*first..=*last).contains(&character)) != *is_negated
            }
        }
    }
}

/// A pattern that means whole names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wildcards(Vec<Part>);

/// Whether a text is more than a name.
pub(super) fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

impl Wildcards {
    /// A name that means itself.
    pub(super) fn literal(name: &str) -> Self {
        Self(name.chars().map(Part::One).collect())
    }

    /// Reads a pattern; `None` if it has a set that does not end, or that is empty.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            parts.push(match character {
                '*' => Part::AnyNumber,
                '?' => Part::AnyOne,
                '[' => {
                    let (set, behind) = rest.as_str().split_once(']')?;
                    rest = behind.chars();
                    set_of(set)?
                }
                one => Part::One(one),
            });
        }
        Some(Self(parts))
    }

    /// Whether it means a name.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut part, mut at) = (0, 0);
        // Where the newest star is, and how far it reaches for now.
        let mut star = None;
        while at < name.len() {
            match self.0.get(part) {
                Some(Part::AnyNumber) => {
                    star = Some((part, at));
                    part += 1;
                }
                Some(one) if one.takes(name[at]) => {
                    part += 1;
                    at += 1;
                }
                Some(_) | None => {
                    let Some((star_part, reach)) = star else {
                        return false;
                    };
                    star = Some((star_part, reach + 1));
                    (part, at) = (star_part + 1, reach + 1);
                }
            }
        }
        self.0[part..].iter().all(|rest| *rest == Part::AnyNumber)
    }
}

/// What stands between brackets.
fn set_of(text: &str) -> Option<Part> {
    let members = text.strip_prefix('!');
    let is_negated = members.is_some();
    let mut members = members.unwrap_or(text).chars().peekable();
    let mut ranges = Vec::new();
    while let Some(first) = members.next() {
        let mut ahead = members.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) => {
                members = ahead;
                last
            }
            _ => first,
        };
        if first > last {
            return None;
        }
        ranges.push((first, last));
    }
    (!ranges.is_empty()).then_some(Part::OneOf { ranges, is_negated })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sets_and_stars_mean_whole_names() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-c-", false),
            ("*_[0-9][0-9]", "x_1_23", true),
            ("[a-c_-]*", "-x", true),
            ("[!a-c]", "d", true),
            ("[!a-c]", "b", false),
            ("[!a-c]", "", false),
            ("[ä-ü]?", "öß", true),
            ("?", "ab", false),
        ] {
            let pattern = Wildcards::parse(pattern).unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name}");
        }
    }

    /// The definition.
    fn means(parts: &[Part], name: &[char]) -> bool {
        match (parts, name) {
            ([], []) => true,
            ([Part::AnyNumber, rest @ ..], _) => {
                means(rest, name) || !name.is_empty() && means(parts, &name[1..])
            }
            ([part, parts @ ..], [first, rest @ ..]) => part.takes(*first) && means(parts, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn stars_reach_as_far_as_they_must(pattern in "([ab*?]|\\[ab\\]|\\[!a\\]){0,8}", name in "[abß]{0,8}") {
            let pattern = Wildcards::parse(&pattern).unwrap();
            let characters: Vec<char> = name.chars().collect();
            prop_assert_eq!(pattern.matches(&name), means(&pattern.0, &characters));
        }
    }
}
