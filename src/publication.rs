//! PURE. Exactly once: which staged objects the checkpoint has committed, and which of those are visible.
//!
//! An object is staged where nobody sees it, sealed, published, and settled. To seal it is to store a checkpoint that
//! names it: that is its commit, because from then on every agent that finds the checkpoint publishes it, and none
//! writes its rows again. Only what is sealed may be published, as often as one likes. An object that is visible leaves the
//! checkpoint with the next one that is stored. What was staged and not sealed never happened.
//!
//! What does not live here: how an object is staged or appears ([`crate::sink`]), and how a checkpoint is stored.

use std::collections::VecDeque;

/// Objects that a checkpoint names at most, so that it stays small.
const MOST_SEALED: usize = 256;

/// Objects between their last row and the checkpoint that does not name them any more.
///
/// Contract: [`Publication::staged`] for whole objects; [`Publication::begin`] before a checkpoint is made, which names
/// [`Publication::named`]; [`Publication::stored`] when it is stored, and only then, gives the objects to publish;
/// [`Publication::published`] for those that are visible. A checkpoint that could not be stored is made anew from
/// [`Publication::begin`] on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Publication<O> {
    /// In no checkpoint.
    ready: VecDeque<O>,
    /// In the one that is being stored.
    sealing: Vec<O>,
    /// In the one that is stored.
    sealed: Vec<O>,
}

impl<O: Clone> Publication<O> {
    /// `found` are the objects that the stored checkpoint names. They are to be published before anything else.
    #[must_use]
    pub fn recover(found: Vec<O>) -> Self {
        Self {
            ready: VecDeque::new(),
            sealing: Vec::new(),
            sealed: found,
        }
    }

    /// An object is whole.
    pub fn staged(&mut self, object: O) {
        self.ready.push_back(object);
    }

    /// Whether a checkpoint would seal something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty() && self.sealing.len() + self.sealed.len() < MOST_SEALED
    }

    /// A checkpoint will be made. Gives the objects that it seals and none before it did.
    pub fn begin(&mut self) -> &[O] {
        let known = self.sealing.len();
        while self.is_ready()
            && let Some(object) = self.ready.pop_front()
        {
            self.sealing.push(object);
        }
        &self.sealing[known..]
    }

    /// What the checkpoint must name.
    pub fn named(&self) -> impl Iterator<Item = &O> {
        self.sealed.iter().chain(&self.sealing)
    }

    /// The checkpoint is stored. Gives the objects that it has sealed.
    pub fn stored(&mut self) -> Vec<O> {
        let sealed = std::mem::take(&mut self.sealing);
        self.sealed.extend_from_slice(&sealed);
        sealed
    }

    /// A sealed object is visible, or was.
    pub fn published(&mut self, is_it: impl Fn(&O) -> bool) {
        self.sealed.retain(|sealed| !is_it(sealed));
    }

    /// Whether every object that was staged is visible.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ready.is_empty() && self.sealing.is_empty() && self.sealed.is_empty()
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
#[path = "publication_tests.rs"]
mod tests;
