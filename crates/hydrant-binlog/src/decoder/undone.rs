//! Rows that a transaction takes back itself: by ROLLBACK or by ROLLBACK TO SAVEPOINT behind them.
//!
//! MariaDB writes such transactions with `binlog_format = ROW`, too, if they have created or dropped a temporary
//! table or changed a table of an engine without transactions. Nothing before its end tells such a
//! transaction from others: the flags of its GTID event are the same. So the reader holds back what it makes
//! of any transaction of MariaDB until it has ended, and takes back what is undone. If that is too much,
//! [`Decoder::give_up_open_transaction`] has the rest read for its end only, and then all of it again.
//!
//! Which engine a table has does not matter: MariaDB writes rows of those without transactions into
//! transactions of their own, or before all other rows of one that is committed (`binlog_flush_cache` in
//! `sql/log.cc`), so that what is undone is undone in each table.

use super::super::{FilePosition, Flavor, Problem, query};
use super::{Decoder, Step};

/// Savepoints of one transaction that are known; what is older is forgotten.
const MOST_SAVEPOINTS: usize = 1_024;
/// Parts of a file that can be known as undone, 16 bytes each.
const MOST_PARTS: usize = 1 << 20;

/// What is known of a transaction's end while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It is committed; a ROLLBACK would be an error.
    Real,
    /// Its rows are handed out, and it may take them back.
    Open,
    /// Its rows are not handed out, because only its end is looked for.
    Surveyed,
    /// Its end was read before, so that only real rows are handed out.
    Known,
}

/// Parts of one file in which rows are undone: from an offset up to another one, in order and apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UndoneParts(Vec<(u64, u64)>);

impl UndoneParts {
    /// Adds a part that ends behind all others; those that it holds are within it.
    fn add(&mut self, from: u64, to: u64) -> Result<(), Problem> {
        while self.0.pop_if(|(start, _)| *start >= from).is_some() {}
        if self.0.len() == MOST_PARTS {
            return Err(Problem::Undone("ROLLBACK"));
        }
        self.0.push((from, to));
        Ok(())
    }

    fn has(&self, offset: u64) -> bool {
        let index = self.0.partition_point(|(_, end)| *end <= offset);
        self.0.get(index).is_some_and(|(start, _)| *start <= offset)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Savepoint {
    id: u64,
    name: Vec<u8>,
    /// Where its statement starts.
    start: u64,
}

/// The savepoints of one transaction, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Savepoints {
    known: Vec<Savepoint>,
    next_id: u64,
    undone: UndoneParts,
}

impl Savepoints {
    /// Sets one and gives its number, and that of one that is gone with it: there is one of a name.
    fn set(&mut self, name: Vec<u8>, start: u64) -> (u64, Option<u64>) {
        let same = self.known.iter().position(|known| known.name == name);
        let gone = same.or((self.known.len() == MOST_SAVEPOINTS).then_some(0));
        let gone = gone.map(|index| self.known.remove(index).id);
        let id = self.next_id;
        self.next_id += 1;
        self.known.push(Savepoint { id, name, start });
        (id, gone)
    }

    /// Goes back to one; those after it are gone.
    fn go_back_to(&mut self, name: &[u8]) -> Option<&Savepoint> {
        // Servers compare names by a collation, in which other letters may be the same.
        let mut names = self.known.iter().map(|known| known.name.as_slice());
        if !names.all(<[u8]>::is_ascii) || !name.is_ascii() {
            return None;
        }
        let index = self.known.iter().position(|known| known.name == name)?;
        self.known.truncate(index + 1);
        self.known.last()
    }
}

#[derive(Debug)]
struct Known {
    /// The transaction that was read to its end; `None` is each one of the file at hand.
    start: Option<FilePosition>,
    undone: UndoneParts,
}

/// All that the decoder knows of what is undone.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// Each transaction is read for its end only, and what is undone is noted here.
    survey: Option<UndoneParts>,
    known: Option<Known>,
    /// The open transaction has ended, and its rows are gone.
    must_read_again: bool,
}

impl Undo {
    pub(super) fn must_read_again(&self) -> bool {
        self.must_read_again
    }

    /// The open transaction will be sent again.
    pub(super) fn rewind(&mut self) {
        self.must_read_again = false;
    }

    /// Positions are of another server's binlog.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }
}

impl Decoder {
    /// Whether rows of the open transaction that are handed out may be taken back by
    /// [`Step::RolledBack`] or [`Step::RolledBackTo`].
    #[must_use]
    pub fn may_be_undone(&self) -> bool {
        let transaction = self.transaction.as_ref();
        transaction.is_some_and(|transaction| transaction.outlook == Outlook::Open)
    }

    /// Looks for the end of the open transaction only: the reader has dropped its rows, which are too many
    /// to be held back. [`Decoder::must_read_again`] is true at its end, unless all of it is undone.
    pub fn give_up_open_transaction(&mut self) {
        if let Some(transaction) = &mut self.transaction
            && transaction.outlook == Outlook::Open
        {
            transaction.outlook = Outlook::Surveyed;
        }
    }

    /// From now on hands out no rows, and notes which of them are undone.
    pub(super) fn survey(&mut self) {
        self.undo.survey = Some(UndoneParts::default());
    }

    /// What a decoder made by [`Decoder::surveying`] has noted of the file at hand.
    pub fn surveyed(&mut self) -> UndoneParts {
        self.undo.survey.take().unwrap_or_default()
    }

    /// Tells what is undone in the file that follows, as a decoder of the same file has found out.
    pub fn know_undone(&mut self, undone: UndoneParts) {
        self.undo.known = Some(Known {
            start: None,
            undone,
        });
    }

    /// Of a transaction that starts at the newest event.
    pub(super) fn outlook(&self) -> Outlook {
        if self.undo.survey.is_some() {
            return Outlook::Surveyed;
        }
        let is_known = self.undo.known.as_ref().is_some_and(|known| {
            let is_here =
                |start: &FilePosition| start.offset == self.start && start.file == self.next.file;
            known.start.as_ref().is_none_or(is_here)
        });
        match self.flavor {
            _ if is_known => Outlook::Known,
            Flavor::MariaDb => Outlook::Open,
            Flavor::MySql => Outlook::Real,
        }
    }

    /// Whether the rows of the newest event are handed out, as far as this room decides.
    pub(super) fn is_handed_out(&self) -> bool {
        let transaction = self.transaction.as_ref();
        match transaction.map(|transaction| transaction.outlook) {
            None | Some(Outlook::Real | Outlook::Open) => true,
            Some(Outlook::Surveyed) => false,
            Some(Outlook::Known) => {
                let known = self.undo.known.as_ref();
                !known.is_some_and(|known| known.undone.has(self.start))
            }
        }
    }

    /// Before the open transaction is taken as committed: whether it must be read again for that.
    pub(super) fn ends_unread(&mut self) -> bool {
        let is_surveyed = self.transaction.as_ref().is_some_and(|transaction| {
            transaction.outlook == Outlook::Surveyed && transaction.handed_out
        });
        let is_unread = is_surveyed && self.undo.survey.is_none();
        if !is_unread && self.undo.known.is_none() {
            return false;
        }
        let start = self.start_of_transaction();
        if let Some(transaction) = self.transaction.as_mut().filter(|_| is_unread) {
            self.undo.known = Some(Known {
                start,
                undone: std::mem::take(&mut transaction.savepoints.undone),
            });
            self.undo.must_read_again = true;
            return true;
        }
        let is_this = |known: &mut Known| known.start.is_some() && known.start == start;
        self.undo.known.take_if(is_this);
        false
    }

    /// SAVEPOINT, or another statement within a transaction that changes no row.
    pub(super) fn savepoint<'e>(&mut self, body: &[u8]) -> Result<Step<'e>, Problem> {
        let name = savepoint_name(query::statement_text(body)?);
        let (Some(name), Some(transaction)) = (name, &mut self.transaction) else {
            return Ok(Step::Nothing);
        };
        match transaction.outlook {
            Outlook::Real | Outlook::Known => Ok(Step::Nothing),
            Outlook::Surveyed => {
                transaction.savepoints.set(name, self.start);
                Ok(Step::Nothing)
            }
            Outlook::Open => {
                let (id, gone) = transaction.savepoints.set(name, self.start);
                Ok(Step::Savepoint { id, gone })
            }
        }
    }

    /// ROLLBACK TO SAVEPOINT in a transaction with rows.
    pub(super) fn rolled_back_to<'e>(&mut self, body: &[u8]) -> Result<Step<'e>, Problem> {
        const UNDONE: Problem = Problem::Undone("ROLLBACK TO SAVEPOINT");
        let name = rolled_back_name(query::statement_text(body)?).ok_or(UNDONE)?;
        let transaction = self.transaction.as_mut().ok_or(UNDONE)?;
        let outlook = transaction.outlook;
        match outlook {
            _ if transaction.kept.is_some() => Err(UNDONE),
            Outlook::Real => Err(UNDONE),
            Outlook::Known => Ok(Step::Nothing),
            Outlook::Open | Outlook::Surveyed => {
                let savepoint = transaction.savepoints.go_back_to(&name).ok_or(UNDONE)?;
                let (id, from) = (savepoint.id, savepoint.start);
                transaction.savepoints.undone.add(from, self.start)?;
                if let Some(survey) = &mut self.undo.survey {
                    survey.add(from, self.start)?;
                }
                Ok(match outlook {
                    Outlook::Open => Step::RolledBackTo(id),
                    _ => Step::Nothing,
                })
            }
        }
    }

    /// ROLLBACK of a transaction with rows.
    pub(super) fn rolled_back<'e>(&mut self) -> Result<Step<'e>, Problem> {
        const UNDONE: Problem = Problem::Undone("ROLLBACK");
        let transaction = self.transaction.as_mut().ok_or(UNDONE)?;
        let outlook = transaction.outlook;
        if transaction.kept.is_some() || outlook == Outlook::Real {
            return Err(UNDONE);
        }
        // There is nothing to read again.
        transaction.outlook = Outlook::Real;
        if let Some(survey) = &mut self.undo.survey {
            survey.add(transaction.start, self.start)?;
        }
        self.commit()?;
        Ok(match outlook {
            Outlook::Open => Step::RolledBack,
            _ => Step::Commit,
        })
    }
}

/// The name in `SAVEPOINT name`.
fn savepoint_name(statement: &[u8]) -> Option<Vec<u8>> {
    after_word(statement, b"SAVEPOINT").and_then(name)
}

/// The name in `ROLLBACK TO name`, which may have words in between.
fn rolled_back_name(statement: &[u8]) -> Option<Vec<u8>> {
    let rest = after_word(statement, b"ROLLBACK")?;
    let rest = after_word(rest, b"WORK").unwrap_or(rest);
    let rest = after_word(rest, b"TO")?;
    let named = after_word(rest, b"SAVEPOINT").filter(|rest| !rest.trim_ascii().is_empty());
    name(named.unwrap_or(rest))
}

fn after_word<'s>(statement: &'s [u8], word: &[u8]) -> Option<&'s [u8]> {
    let (first, rest) = statement.trim_ascii_start().split_at_checked(word.len())?;
    let ends = !rest.first().is_some_and(u8::is_ascii_alphanumeric);
    (ends && first.eq_ignore_ascii_case(word)).then_some(rest)
}

/// A name without its quotes. Case and blanks at its end do not matter to servers.
fn name(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let quote = *text.first()?;
    let mut name = text.to_ascii_lowercase();
    if quote == b'`' || quote == b'"' {
        let inner = text.get(1..text.len() - 1)?.to_ascii_lowercase();
        name.clear();
        let mut bytes = inner.iter().peekable();
        while let Some(byte) = bytes.next() {
            if *byte == quote {
                bytes.next_if(|next| **next == quote);
            }
            name.push(*byte);
        }
    }
    name.truncate(name.trim_ascii_end().len());
    Some(name)
}

#[cfg(test)]
#[path = "undone_tests.rs"]
mod tests;
