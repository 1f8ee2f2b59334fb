//! Tokens, read from the front: what all statements are put together from.

use super::table_name::TableName;
use super::tokens::Token;

/// Reads tokens from the front.
#[derive(Debug, Clone)]
pub(super) struct Parser<'t, 'a> {
    pub(super) tokens: &'t [&'t Token<'a>],
    pub(super) at: usize,
    pub(super) default_schema: &'t [u8],
    pub(super) is_cut: bool,
}

impl Parser<'_, '_> {
    fn peek(&self) -> Option<&Token<'_>> {
        self.tokens.get(self.at).copied()
    }

    /// Whether only semicolons are left.
    pub(super) fn is_at_end(&self) -> bool {
        let mut rest = self.tokens[self.at..].iter();
        rest.all(|token| **token == Token::Punct(b';'))
    }

    /// Whether the statement has more than there are tokens.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Passes over one token.
    pub(super) fn skip(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len());
    }

    pub(super) fn skip_all(&mut self) {
        self.at = self.tokens.len();
    }

    /// Takes this keyword, if it is next.
    pub(super) fn word(&mut self, keyword: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Word(word)) if is(word, keyword));
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes one of these keywords.
    pub(super) fn any_word(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.word(keyword))
    }

    /// Takes all of these keywords, or none.
    pub(super) fn words(&mut self, keywords: &[&str]) -> bool {
        let before = self.at;
        let are_next = keywords.iter().all(|keyword| self.word(keyword));
        if !are_next {
            self.at = before;
        }
        are_next
    }

    pub(super) fn punct(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(&Token::Punct(byte));
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn text(&mut self) -> bool {
        let is_next = self.peek() == Some(&Token::Text);
        self.at += usize::from(is_next);
        is_next
    }

    /// An identifier.
    pub(super) fn name(&mut self) -> Option<Vec<u8>> {
        let name = match self.peek()? {
            Token::Word(word) => word.to_vec(),
            Token::Name(name) => name.to_vec(),
            Token::Text | Token::Punct(_) => return None,
        };
        self.at += 1;
        Some(name)
    }

    /// A table's name, with or without a schema.
    pub(super) fn table(&mut self) -> Option<TableName> {
        let first = self.name()?;
        let (schema, table) = if self.punct(b'.') {
            (first, self.name()?)
        } else {
            (self.default_schema.to_vec(), first)
        };
        let schema = Some(schema).filter(|schema| !schema.is_empty());
        Some(TableName { schema, table })
    }

    /// An option's value.
    pub(super) fn value(&mut self) -> bool {
        if self.peek() == Some(&Token::Punct(b'(')) {
            return self.parenthesised();
        }
        if self.text() {
            return true;
        }
        // A string may have its character set before it.
        let has_value = self.name().is_some();
        self.text();
        has_value
    }

    /// Takes parentheses with all that is in them.
    pub(super) fn parenthesised(&mut self) -> bool {
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token {
                Token::Punct(b'(') => depth += 1,
                Token::Punct(b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                let was_parenthesis = token == &Token::Punct(b')');
                self.at += usize::from(was_parenthesis);
                return was_parenthesis;
            }
            self.at += 1;
        }
        false
    }

    /// The tokens that are in no parentheses, from here on, with their places.
    fn outer(&self) -> impl Iterator<Item = (usize, &Token<'_>)> {
        let mut depth = 0_usize;
        let rest = self.tokens.iter().enumerate().skip(self.at);
        rest.filter_map(move |(at, token)| {
            let is_outer = depth == 0;
            match token {
                Token::Punct(b'(') => depth += 1,
                Token::Punct(b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            is_outer.then_some((at, *token))
        })
    }

    /// Goes behind a keyword that is in no parentheses; if there is none, to the end.
    pub(super) fn skip_to_word(&mut self, keyword: &str) -> bool {
        let found = self.outer().find_map(|(at, token)| {
            matches!(token, Token::Word(word) if is(word, keyword)).then_some(at)
        });
        self.at = found.map_or(self.tokens.len(), |at| at + 1);
        found.is_some()
    }

    /// Goes to the next comma that is in no parentheses, or to the end.
    pub(super) fn skip_to_comma(&mut self) -> bool {
        let comma = self
            .outer()
            .find(|(_, token)| **token == Token::Punct(b','));
        self.at = comma.map_or(self.tokens.len(), |(at, _)| at);
        true
    }

    pub(super) fn skip_past_comma(&mut self) {
        self.skip_to_comma();
        self.skip();
    }

    pub(super) fn is_at_comma_or_end(&self) -> bool {
        self.is_at_end() || self.peek() == Some(&Token::Punct(b','))
    }

    /// Whether one of these keywords follows, in no parentheses.
    pub(super) fn rest_has(&self, keywords: &[&str]) -> bool {
        self.outer().any(|(_, token)| is_one_of(token, keywords))
    }

    /// Whether one of these keywords comes before the next comma that is in no parentheses.
    pub(super) fn specification_has(&self, keywords: &[&str]) -> bool {
        let specification = self.outer().map(|(_, token)| token);
        let mut specification = specification.take_while(|token| **token != Token::Punct(b','));
        specification.any(|token| is_one_of(token, keywords))
    }
}

fn is_one_of(token: &Token<'_>, keywords: &[&str]) -> bool {
    matches!(token, Token::Word(word) if keywords.iter().any(|keyword| is(word, keyword)))
}

/// Whether a word is this keyword.
pub(super) fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// Runs of ASCII in a word: in some character sets other bytes are white space.
pub(super) fn ascii_parts(word: &[u8]) -> impl Iterator<Item = &[u8]> {
    word.split(|byte| !byte.is_ascii())
}

/// Whether a word stands behind a point that belongs to a name, and not to a number.
pub(super) fn is_qualified(tokens: &[&Token<'_>], at: usize) -> bool {
    let [.., before, point] = &tokens[..at] else {
        return false;
    };
    let is_name = match before {
        Token::Word(word) => !word.iter().all(u8::is_ascii_digit),
        Token::Name(_) => true,
        Token::Text | Token::Punct(_) => false,
    };
    **point == Token::Punct(b'.') && is_name
}
