//! What the lines of a change are: which operations, and which images.

use crate::binlog::RowOperation;
use crate::encode::{Image, MetadataColumn, Plan};
use crate::{Exit, Failure};

use super::super::remedies;
use super::row_context::RowContext;
use super::{TableWriter, index_of};

impl TableWriter {
    /// What a change is written as, and whether the row has moved to another key. Such an update is a delete of
    /// the old row and an insert of the new one. If the event does not tell the new row whole, it stays an
    /// update, because what it leaves out is as it was in the row that was deleted, and not at its default.
    #[inline]
    pub(super) fn operations_written(
        &self,
        operation: RowOperation,
        images: &[u8],
    ) -> impl Iterator<Item = (RowOperation, bool)> + use<> {
        let changes_key = |(_, plan): &(u64, Plan)| plan.changes_key(images);
        let is_moved =
            operation == RowOperation::Update && self.plan.as_ref().is_some_and(changes_key);
        let is_whole = self.absent[index_of(Image::After)].is_empty();
        let last = match operation {
            RowOperation::Update if is_moved && is_whole => RowOperation::Insert,
            operation => operation,
        };
        let first = is_moved.then_some((RowOperation::Delete, true));
        first.into_iter().chain([(last, is_moved)])
    }

    /// Prepares for rows that were changed so, and gives their images.
    pub(super) fn begin_rows(
        &mut self,
        operation: RowOperation,
        is_moved: bool,
        context: &RowContext<'_>,
    ) -> Result<&'static [Image], Failure> {
        let images = match operation {
            // The image before is a line of its own.
            RowOperation::Update if is_moved => &[Image::After],
            operation => self.images(operation),
        };
        self.refuse_absent(images, context)?;
        let is_same = !self.is_suffix_stale && self.operation == operation;
        if !is_same || !self.transaction.is(&context.key) {
            self.prepare_suffixes(operation, context);
            self.is_suffix_stale = false;
        }
        Ok(images)
    }

    /// The images that are written of a change, in this order.
    pub(super) fn images(&self, operation: RowOperation) -> &'static [Image] {
        match operation {
            RowOperation::Update if self.definition.checked.before_image => {
                &[Image::Before, Image::After]
            }
            RowOperation::Insert | RowOperation::Update => &[Image::After],
            RowOperation::Delete => &[Image::Before],
        }
    }

    /// A column that is not in the image is neither NULL nor anything else that could be written.
    pub(super) fn refuse_absent(
        &self,
        images: &[Image],
        context: &RowContext<'_>,
    ) -> Result<(), Failure> {
        let mut absent = images.iter().map(|image| &self.absent[index_of(*image)]);
        match absent.find(|names| !names.is_empty()) {
            Some(names)
                if !self
                    .definition
                    .checked
                    .metadata
                    .contains(&MetadataColumn::Absent) =>
            {
                let what = format!(
                    "table {}, transaction at {}: the row image does not hold the columns {names}",
                    self.definition.name(),
                    context.place()
                );
                Err(Failure::definite(Exit::Data, what, remedies::ABSENT))
            }
            Some(_) | None => Ok(()),
        }
    }
}
