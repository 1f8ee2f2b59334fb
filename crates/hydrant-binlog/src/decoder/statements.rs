//! QUERY events: which statements begin and end transactions, and which have changed rows that no event holds.

use super::super::query::{Kind, LoggedStatement};
use super::super::{Event, Problem};
use super::{Decoder, Step, Transaction, header_time_us};

impl Decoder {
    pub(super) fn query<'e>(&mut self, event: &Event<'_>) -> Result<Step<'e>, Problem> {
        let begun = self.has_begun();
        let has_rows = self.transaction.as_ref().is_some_and(Transaction::has_rows);
        let logged = LoggedStatement::parse(event.body)?;
        match logged.kind() {
            Kind::Begin | Kind::XaStart => {
                match &mut self.transaction {
                    Some(transaction) => transaction.begun = true,
                    None => self.begin(None, header_time_us(&event.header), true, event),
                }
                if logged.kind() == Kind::XaStart {
                    self.xa_start();
                }
                Ok(Step::Nothing)
            }
            Kind::XaEnd => self.xa_end(event.body),
            Kind::XaCommit => self.xa_commit(begun, event),
            Kind::XaRollback if !begun => self.xa_rollback(event.body),
            Kind::Rollback if has_rows => self.rolled_back(),
            Kind::RollbackToSavepoint if has_rows => self.rolled_back_to(event.body),
            Kind::XaRollback if has_rows => Err(Problem::Undone("XA ROLLBACK")),
            Kind::Commit | Kind::Rollback => self.commit(),
            Kind::Harmless if begun => self.savepoint(event.body),
            Kind::Harmless => {
                self.note_reload();
                self.end_of_statement(begun)
            }
            Kind::RollbackToSavepoint | Kind::XaRollback => self.end_of_statement(begun),
            Kind::Ddl | Kind::Dml | Kind::Unknown => self.change(&logged, begun),
        }
    }

    /// LOAD DATA, logged as a statement. The file is in events before it.
    pub(super) fn load_query<'e>(&mut self, event: &Event<'_>) -> Result<Step<'e>, Problem> {
        let logged = LoggedStatement::parse_load(event.body)?;
        self.change(&logged, self.has_begun())
    }

    fn has_begun(&self) -> bool {
        let transaction = self.transaction.as_ref();
        transaction.is_some_and(|transaction| transaction.begun)
    }

    fn change<'e>(
        &mut self,
        logged: &LoggedStatement<'_>,
        begun: bool,
    ) -> Result<Step<'e>, Problem> {
        self.follow_named(logged);
        self.note_changes(logged);
        self.note_reload();
        if let Some(problem) = self.unread_change(logged) {
            return self.unread_rows(problem, begun);
        }
        if !self.is_passed_over() {
            self.note_emptied(logged);
        }
        self.end_of_statement(begun)
    }

    /// A statement outside a transaction is one of its own.
    pub(super) fn end_of_statement<'e>(&mut self, begun: bool) -> Result<Step<'e>, Problem> {
        if begun {
            Ok(Step::Nothing)
        } else {
            self.commit()
        }
    }

    /// What is wrong if the statement may have changed followed rows, or brought some, without an event of them.
    fn unread_change(&self, logged: &LoggedStatement<'_>) -> Option<Problem> {
        match logged.kind() {
            Kind::Dml if self.is_ignored(logged) => None,
            Kind::Dml => Some(Problem::StatementDml(logged.written_table())),
            Kind::Unknown => Some(Problem::UnknownStatement),
            Kind::Ddl => {
                let brings = |(schema, table): (&str, &str)| logged.may_bring_rows(schema, table);
                let mut tables = self.followed_names();
                let (schema, table) = tables.find(|table| brings(*table))?;
                Some(Problem::RowsMoved(format!("{schema}.{table}")))
            }
            Kind::Begin
            | Kind::Commit
            | Kind::Rollback
            | Kind::RollbackToSavepoint
            | Kind::XaStart
            | Kind::XaEnd
            | Kind::XaCommit
            | Kind::XaRollback
            | Kind::Harmless => None,
        }
    }

    pub(super) fn followed_names(&self) -> impl Iterator<Item = (&str, &str)> {
        let tables = self.followed.iter().map(|followed| &followed.table);
        tables.map(|table| (table.schema.as_str(), table.name.as_str()))
    }
}
