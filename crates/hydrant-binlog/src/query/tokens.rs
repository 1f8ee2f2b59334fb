//! The words of an SQL statement, as both families of servers read them.
//!
//! What lives here: quotes, comments, and comments that are code (`/*! ... */` and MariaDB's `/*M! ... */`), which
//! a server reads or not by its version. The version of the server that executed the statement is unknown, so
//! there are several readings of one that has such comments. What does not: what the words mean.

use std::borrow::Cow;

use super::QueryBody;

/// Tokens of one statement that are looked at; what follows is told by [`Tokens::is_cut`]. It bounds memory: a
/// statement of DML can have as many bytes as a packet.
const MOST_TOKENS: usize = 1 << 16;
/// Different versions in the comments of one statement. Dumps have three.
const MOST_VERSIONS: usize = 16;
/// What is for this version or an earlier one is read by all servers that can write rows to a binlog.
const OLDEST: u32 = 50_100;

/// The sql_mode bits that change how words are found.
const ANSI_QUOTES: u64 = 1 << 2;
const MSSQL: u64 = 1 << 10;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// A part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, an identifier without quotes, or a number.
    Word(&'a [u8]),
    /// A quoted identifier, without its quotes.
    Name(Cow<'a, [u8]>),
    /// A string.
    Text,
    /// Any other character.
    Punct(u8),
}

/// Who reads a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// All servers.
    All,
    /// Servers of both families from this version on; MariaDB leaves out those of MySQL 5.7 and later.
    Since(u32),
    /// MariaDB from this version on.
    MariaDb(u32),
}

/// The statement cannot be divided into words with certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// All tokens of a statement.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    list: Vec<(Reader, Token<'a>)>,
    /// The statement has more.
    pub(super) is_cut: bool,
}

impl<'a> Tokens<'a> {
    /// Finds the tokens of a statement.
    pub(super) fn of(query: &QueryBody<'a>) -> Result<Self, Unreadable> {
        let text = query.statement;
        let mode = query.sql_mode;
        if mode.is_none() && memchr::memchr2(b'\\', b'"', text).is_some() {
            return Err(Unreadable);
        }
        let mode = mode.unwrap_or_default();
        let mut lexer = Lexer {
            mode,
            wide: query.wide,
            tokens: Self {
                list: Vec::new(),
                is_cut: false,
            },
        };
        lexer.read(text, Reader::All, false)?;
        Ok(lexer.tokens)
    }

    /// What servers of different versions read. There is always one reading.
    pub(super) fn readings(&self) -> Result<Vec<Vec<&Token<'a>>>, Unreadable> {
        let mut versions: Vec<u32> = vec![0];
        for (reader, _) in &self.list {
            if let Reader::Since(version) | Reader::MariaDb(version) = reader
                && !versions.contains(version)
            {
                versions.push(*version);
            }
            if versions.len() > MOST_VERSIONS {
                return Err(Unreadable);
            }
        }
        let mut readings: Vec<Vec<&Token<'a>>> = Vec::new();
        for server in versions {
            for is_mariadb in [false, true] {
                let read = |(reader, token)| reads(server, is_mariadb, reader).then_some(token);
                let tokens = self.list.iter().map(|(reader, token)| (*reader, token));
                let reading: Vec<_> = tokens.filter_map(read).collect();
                if !readings.contains(&reading) {
                    readings.push(reading);
                }
            }
        }
        Ok(readings)
    }
}

/// Whether a server of this version reads it.
fn reads(server: u32, is_mariadb: bool, reader: Reader) -> bool {
    const LATER_MYSQL: std::ops::RangeInclusive<u32> = 50_700..=99_999;
    match reader {
        Reader::All => true,
        Reader::Since(version) => {
            version <= server && !(is_mariadb && LATER_MYSQL.contains(&version))
        }
        Reader::MariaDb(version) => is_mariadb && version <= server,
    }
}

/// The words and identifiers among tokens.
pub(super) fn words(tokens: &[&Token<'_>]) -> Vec<Vec<u8>> {
    let word = |token: &&Token<'_>| match token {
        Token::Word(word) => Some(word.to_vec()),
        Token::Name(name) => Some(name.to_vec()),
        Token::Text | Token::Punct(_) => None,
    };
    tokens.iter().filter_map(word).collect()
}

struct Lexer<'a> {
    mode: u64,
    wide: Wide,
    tokens: Tokens<'a>,
}

impl<'a> Lexer<'a> {
    /// Reads the statement, or the code in a comment of it.
    fn read(&mut self, text: &'a [u8], reader: Reader, is_nested: bool) -> Result<(), Unreadable> {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            if self.tokens.list.len() == MOST_TOKENS {
                self.tokens.is_cut = true;
                return Ok(());
            }
            let next = text.get(at + 1).copied();
            let token = match (byte, next) {
                (b'\t'..=b'\r' | b' ', _) => {
                    at += 1;
                    continue;
                }
                (b'/', Some(b'*')) if is_nested => return Err(Unreadable),
                (b'/', Some(b'*')) => {
                    at += 2 + self.comment(&text[at + 2..])?;
                    continue;
                }
                (b'*', Some(b'/')) => return Err(Unreadable),
                (b'#', _) => {
                    at += line_comment(&text[at..], is_nested)?;
                    continue;
                }
                (b'-', Some(b'-'))
                    if text
                        .get(at + 2)
                        .is_none_or(|byte| *byte <= b' ' || *byte == 0x7f) =>
                {
                    at += line_comment(&text[at..], is_nested)?;
                    continue;
                }
                (b'\'' | b'"' | b'`', _) => {
                    let (token, len) = self.quoted(&text[at..], byte)?;
                    at += len;
                    token
                }
                (b'[', _) if self.mode & MSSQL != 0 => return Err(Unreadable),
                _ => {
                    let len = self.word_len(&text[at..]);
                    if len == 0 {
                        at += 1;
                        Token::Punct(byte)
                    } else {
                        at += len;
                        Token::Word(&text[at - len..at])
                    }
                }
            };
            self.tokens.list.push((reader, token));
        }
        Ok(())
    }

    /// Reads what follows `/*`; gives its length.
    fn comment(&mut self, text: &'a [u8]) -> Result<usize, Unreadable> {
        let len = memchr::memmem::find(text, b"*/").ok_or(Unreadable)?;
        let inside = &text[..len];
        let (is_mariadb, code) = match inside {
            [b'!', code @ ..] => (false, code),
            [b'M', b'!', code @ ..] => (true, code),
            _ => return Ok(len + 2),
        };
        // Servers that leave it out do not see that this is in a string.
        if memchr::memmem::find(code, b"/*").is_some() {
            return Err(Unreadable);
        }
        let digits = code.iter().take(6).take_while(|byte| byte.is_ascii_digit());
        let (version, code) = match digits.count() {
            digits @ 5.. => {
                let fold = |version, digit: &u8| version * 10 + u32::from(digit - b'0');
                (code[..digits].iter().fold(0, fold), &code[digits..])
            }
            _ => (0, code),
        };
        let reader = match (is_mariadb, version) {
            (true, version) => Reader::MariaDb(version),
            (false, ..=OLDEST) => Reader::All,
            (false, version) => Reader::Since(version),
        };
        self.read(code, reader, true)?;
        Ok(len + 2)
    }

    /// Reads a string or a quoted identifier; gives its length.
    fn quoted(&self, text: &'a [u8], quote: u8) -> Result<(Token<'a>, usize), Unreadable> {
        let is_name = quote == b'`' || (quote == b'"' && self.mode & ANSI_QUOTES != 0);
        let has_escapes = !is_name && self.mode & NO_BACKSLASH_ESCAPES == 0;
        let mut has_quotes = false;
        let mut at = 1;
        loop {
            let byte = *text.get(at).ok_or(Unreadable)?;
            if byte == quote && text.get(at + 1) == Some(&quote) {
                has_quotes = true;
                at += 2;
            } else if byte == quote {
                break;
            } else {
                at += usize::from(has_escapes && byte == b'\\');
                at += self.wide.char_len(text.get(at..).unwrap_or_default());
            }
        }
        let token = if is_name {
            let name = &text[1..at];
            Token::Name(if has_quotes {
                Cow::Owned(without_doubled(name, quote))
            } else {
                Cow::Borrowed(name)
            })
        } else {
            Token::Text
        };
        Ok((token, at + 1))
    }

    fn word_len(&self, text: &[u8]) -> usize {
        let mut len = 0;
        while let Some(&byte) = text.get(len)
            && (byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80)
        {
            len += self.wide.char_len(&text[len..]);
        }
        len
    }
}

/// The length of a comment that ends with its line.
fn line_comment(text: &[u8], is_nested: bool) -> Result<usize, Unreadable> {
    match memchr::memchr(b'\n', text) {
        Some(end) => Ok(end + 1),
        // The end of the comment around it would be in this one.
        None if is_nested => Err(Unreadable),
        None => Ok(text.len()),
    }
}

fn without_doubled(name: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut after_quote = false;
    for &byte in name {
        after_quote = byte == quote && !after_quote;
        if !after_quote {
            out.push(byte);
        }
    }
    out
}

/// Character sets of clients in which a byte below 0x80 can be the end of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wide {
    No,
    Gbk,
    Gb18030,
    Big5,
    Sjis,
}

impl Wide {
    /// Of the character set with this name.
    pub(super) fn named(charset: &str) -> Self {
        match charset {
            "gbk" => Self::Gbk,
            "gb18030" => Self::Gb18030,
            "big5" => Self::Big5,
            "sjis" | "cp932" => Self::Sjis,
            _ => Self::No,
        }
    }

    /// The length of the character that the text begins with, at least 1.
    fn char_len(self, text: &[u8]) -> usize {
        let [first, second, ..] = text else {
            return 1;
        };
        let is_pair = match self {
            Self::No => false,
            Self::Gbk => {
                (0x81..=0xfe).contains(first) && matches!(second, 0x40..=0x7e | 0x80..=0xfe)
            }
            Self::Gb18030 => {
                let first_of_pair = |byte: &u8| (0x81..=0xfe).contains(byte);
                let has_four = |text: &[u8]| matches!(text, [_, 0x30..=0x39, third, 0x30..=0x39, ..] if first_of_pair(third));
                if first_of_pair(first) && has_four(text) {
                    return 4;
                }
                first_of_pair(first) && matches!(second, 0x40..=0x7e | 0x80..=0xfe)
            }
            Self::Big5 => {
                (0xa1..=0xf9).contains(first) && matches!(second, 0x40..=0x7e | 0xa1..=0xfe)
            }
            Self::Sjis => {
                matches!(first, 0x81..=0x9f | 0xe0..=0xfc)
                    && matches!(second, 0x40..=0x7e | 0x80..=0xfc)
            }
        };
        1 + usize::from(is_pair)
    }
}
