//! An agent before a checkpoint and a store of uploads, as far as the order of their steps is concerned.

use super::Publication;

pub(super) type Rows = u8;
/// A1, A2, B1, B2.
pub(super) const TABLES: [Rows; 2] = [0b0011, 0b1100];
pub(super) const TRANSACTIONS: [Rows; 3] = [0b0001, 0b0110, 0b1000];
pub(super) const ORDERS: [[usize; 3]; 2] = [[0, 1, 2], [0, 2, 1]];
pub(super) const MOST_IN_NET: usize = 3;
pub(super) const MOST_RANGES: usize = 2;

/// Number and random number of an agent's start.
pub(super) type Epoch = (u8, u8);

/// Rows of a table on their way to an object, under a key, in an upload of an agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) key: (u8, u8),
    pub(super) rows: Rows,
    pub(super) epoch: Epoch,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Checkpoint {
    pub(super) epoch: Epoch,
    /// Rows that the tables' prefixes have.
    pub(super) covered: Rows,
    /// Rows of transactions that are not read again.
    pub(super) mark: Rows,
    pub(super) sealed: Vec<Range>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Request {
    Swap(Checkpoint, Checkpoint),
    Publish(Range),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Agent {
    /// As it knows it; none before its first swap.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) publication: Publication<Range>,
    pub(super) waits_for: Option<Request>,
    pub(super) is_suspended: bool,
    pub(super) server: usize,
    /// Published without being sealed, in the variant that does so.
    pub(super) early: Vec<(Range, bool)>,
}

/// What is done, and in wrong variants otherwise.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "one for each short cut")]
pub(super) struct Variant {
    pub(super) sealed_before: bool,
    /// `If-None-Match: *`.
    pub(super) is_guarded: bool,
    /// What NoSuchUpload of a sealed range means: it was published, or it is to be uploaded again.
    pub(super) gone_is_published: bool,
    /// Uploads that an agent does not know are aborted.
    pub(super) aborts_unknown: bool,
    pub(super) is_compared: bool,
    pub(super) has_random_number: bool,
    pub(super) has_prefixes: bool,
    /// The mark waits for the slowest table.
    pub(super) waits_for_slowest: bool,
    /// Keys and prefixes are by GTID, and not by position.
    pub(super) by_gtid: bool,
    pub(super) has_all_rows: bool,
    pub(super) crashes: u8,
    pub(super) suspensions: u8,
    pub(super) intrusions: u8,
    pub(super) failovers: u8,
}

pub(super) const RIGHT: Variant = Variant {
    sealed_before: true,
    is_guarded: true,
    gone_is_published: true,
    aborts_unknown: false,
    is_compared: true,
    has_random_number: true,
    has_prefixes: true,
    waits_for_slowest: true,
    by_gtid: true,
    has_all_rows: false,
    crashes: 1,
    suspensions: 0,
    intrusions: 0,
    failovers: 0,
};

pub(super) fn all_rows(variant: &Variant) -> Rows {
    if variant.has_all_rows { 0b1111 } else { 0b0111 }
}

/// The rows of a table in the order of a server.
pub(super) fn in_order(variant: &Variant, server: usize, table: usize) -> Vec<Rows> {
    let rows = ORDERS[server]
        .iter()
        .flat_map(|transaction| (0..4).map(move |bit| TRANSACTIONS[*transaction] & (1 << bit)));
    rows.filter(|row| *row & TABLES[table] & all_rows(variant) != 0)
        .collect()
}

/// The mark behind which rows are read again, if these are covered.
pub(super) fn mark_of(variant: &Variant, covered: Rows, server: usize) -> Rows {
    let mut mark = 0;
    if variant.waits_for_slowest {
        for transaction in ORDERS[server] {
            if TRANSACTIONS[transaction] & !covered == 0 {
                mark |= TRANSACTIONS[transaction];
            }
        }
        return mark;
    }
    let mut is_reached = false;
    for transaction in ORDERS[server].into_iter().rev() {
        is_reached |= TRANSACTIONS[transaction] & covered != 0;
        if is_reached {
            mark |= TRANSACTIONS[transaction];
        }
    }
    mark
}

/// What stored rows mean to an agent that reads this server.
pub(super) fn as_read_on(variant: &Variant, covered: Rows, server: usize) -> Rows {
    if variant.by_gtid {
        return covered;
    }
    let of_table = |table: usize| {
        let count = (covered & TABLES[table]).count_ones() as usize;
        let rows = in_order(variant, server, table).into_iter().take(count);
        rows.fold(0, |all, row| all | row)
    };
    of_table(0) | of_table(1)
}

/// What a request has led to.
pub(super) enum Outcome {
    Done,
    /// The swap was lost, or the key is another's.
    Stop,
    Again,
}

impl Agent {
    /// Has read the checkpoint, and swaps its own epoch in.
    pub(super) fn start(
        variant: &Variant,
        found: &Checkpoint,
        server: usize,
        others: &[Epoch],
    ) -> Self {
        let number = found.epoch.0 + 1;
        let free = |random: &u8| !variant.has_random_number || !others.contains(&(number, *random));
        let random = (0..9).find(free).unwrap_or_default();
        let covered = if variant.has_prefixes {
            found.covered
        } else {
            found.mark
        };
        let own = Checkpoint {
            epoch: (number, random),
            covered: as_read_on(variant, covered, server),
            mark: as_read_on(variant, found.mark, server),
            sealed: found.sealed.clone(),
        };
        Self {
            checkpoint: None,
            publication: Publication::recover(own.sealed.clone()),
            waits_for: Some(Request::Swap(found.clone(), own)),
            is_suspended: false,
            server,
            early: Vec::new(),
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        match (&self.checkpoint, &self.waits_for) {
            (Some(checkpoint), _) => checkpoint.epoch,
            (None, Some(Request::Swap(_, own))) => own.epoch,
            (None, _) => (0, 0),
        }
    }

    pub(super) fn answered(mut self, request: &Request, outcome: &Outcome) -> Option<Self> {
        self.waits_for = None;
        match (request, outcome) {
            (_, Outcome::Stop) => return None,
            (_, Outcome::Again) => {}
            (Request::Swap(_, own), Outcome::Done) => {
                self.checkpoint = Some(own.clone());
                self.publication.stored();
                self.early
                    .retain(|(range, _)| range.rows & own.covered == 0);
            }
            (Request::Publish(range), Outcome::Done) => {
                self.publication.published(|sealed| sealed == range);
                for early in self.early.iter_mut().filter(|(early, _)| early == range) {
                    early.1 = true;
                }
            }
        }
        Some(self)
    }

    /// Makes a checkpoint and sends it.
    pub(super) fn swap(mut self, variant: &Variant, more: Rows) -> Option<(Self, Request)> {
        let view = self.checkpoint.clone()?;
        let newly = self
            .publication
            .begin()
            .iter()
            .fold(0, |all, range| all | range.rows);
        let covered = view.covered | newly | more;
        let mut sealed: Vec<Range> = self.publication.named().copied().collect();
        sealed.sort_unstable();
        let own = Checkpoint {
            epoch: view.epoch,
            covered,
            mark: view.mark | mark_of(variant, covered, self.server),
            sealed,
        };
        let request = Request::Swap(view, own);
        self.waits_for = Some(request.clone());
        Some((self, request))
    }

    /// The ranges that can be cut now.
    pub(super) fn cuts(&self, variant: &Variant) -> Vec<Range> {
        let Some(view) = &self.checkpoint else {
            return Vec::new();
        };
        let early = self.early.iter().map(|(range, _)| range);
        let open: Vec<_> = self.publication.named().chain(early).collect();
        if open.len() >= MOST_RANGES {
            return Vec::new();
        }
        let taken = open
            .iter()
            .fold(view.covered | view.mark, |all, range| all | range.rows);
        let mut cuts = Vec::new();
        for table in 0..2 {
            let rows = in_order(variant, self.server, table);
            let left: Vec<_> = rows.iter().filter(|row| **row & taken == 0).collect();
            let mut all = 0;
            for row in &left {
                all |= **row;
                let first = *left[0];
                let key = if variant.by_gtid {
                    (2, first)
                } else {
                    let place = rows.iter().position(|row| *row == first);
                    (
                        u8::from(table > 0),
                        u8::try_from(place.unwrap_or_default()).unwrap(),
                    )
                };
                cuts.push(Range {
                    key,
                    rows: all,
                    epoch: view.epoch,
                });
            }
        }
        cuts
    }
}
