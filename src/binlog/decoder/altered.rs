//! Statements that may have changed a table whose table maps do not name its columns.
//!
//! What lives here: what becomes doubtful by such a statement. What does not: what it does, which
//! nobody reads.

use super::super::query::LoggedStatement;
use super::super::{FilePosition, Problem};
use super::{Decoder, Followed};

impl Decoder {
    /// Tells where the binlog ended when the server was asked for the columns of a table; `None` if
    /// that was after all of it. It matters to table maps that do not name them.
    pub fn described_at(&mut self, index: usize, end: Option<FilePosition>) {
        if let Some(followed) = self.followed.get_mut(index) {
            followed.described_at = end;
        }
    }

    /// Another server's binlog is read from here on, to which no position of before applies.
    pub fn server_changed(&mut self) {
        for followed in &mut self.followed {
            followed.described_at = Some(FilePosition::new("", 0));
        }
        self.xa.server_changed();
        self.undo.forget();
    }

    /// The position behind the newest statement that may have given a table other columns since the
    /// server was asked for them. Table maps without names do not tell whether it has.
    #[must_use]
    pub fn altered(&self, index: usize) -> Option<&FilePosition> {
        self.followed.get(index)?.altered.as_ref()
    }

    /// A statement may have changed columns of tables. Those whose columns the server told
    /// afterwards are known from here on, but not what they were before.
    pub(super) fn alter(&mut self, logged: &LoggedStatement<'_>) -> Result<(), Problem> {
        let may_be_changed = |followed: &&mut Followed| {
            let change = logged.change(&followed.schema, &followed.name);
            change.is_possible()
        };
        for followed in self.followed.iter_mut().filter(may_be_changed) {
            let end = followed.described_at.as_ref();
            if end.is_some_and(|end| self.next > *end) {
                followed.altered = Some(self.next.clone());
                followed.map = None;
            } else if followed.has_unnamed_rows {
                return Err(Problem::ReadWithLaterColumns(followed.name.clone()));
            }
        }
        Ok(())
    }
}
