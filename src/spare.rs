//! PURE. Large buffers that are used again.
//!
//! Batches, parts of objects and parts of tables come and go by megabytes. Once a block of a size was freed, glibc's allocator
//! puts others of that size into its heaps, where they leave gaps. What is not given back leaves none.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Buffers of fewer bytes are left to the allocator.
const LARGE: usize = 128 << 10;
/// As many as a sink has under way, and their bytes.
const MOST_SPARE: usize = 8;
const MOST_BYTES: usize = 48 << 20;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes, in memory that is used again if they are many.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// Makes room for so many bytes more. Call it before they are appended, so that they do not make it grow by themselves.
    pub(crate) fn make_room(&mut self, more: usize) {
        let wanted = self.0.len() + more;
        if wanted <= self.0.capacity() {
            return;
        }
        if wanted >= LARGE
            && let Some(mut spare) = take_larger(self.0.capacity())
        {
            spare.extend_from_slice(&self.0);
            keep_spare(std::mem::replace(&mut self.0, spare));
        }
        if wanted > self.0.capacity() {
            self.0.reserve_exact(more.max(self.0.len() / 2));
        }
    }
}

/// The largest that is kept, if it is larger than what there is.
fn take_larger(capacity: usize) -> Option<Vec<u8>> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    spare.pop_if(|largest| largest.capacity() > capacity)
}

fn keep_spare(mut bytes: Vec<u8>) {
    // Those of single huge rows are not kept.
    if !(LARGE..=MOST_BYTES / 2).contains(&bytes.capacity()) {
        return;
    }
    bytes.clear();
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let at = spare.partition_point(|it| it.capacity() < bytes.capacity());
    spare.insert(at, bytes);
    let is_too_much = |spare: &[Vec<u8>]| {
        spare.len() > MOST_SPARE || spare.iter().map(Vec::capacity).sum::<usize>() > MOST_BYTES
    };
    while is_too_much(&spare) {
        // The smallest.
        spare.remove(0);
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        keep_spare(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_keeps_its_bytes_when_it_becomes_large() {
        let mut buffer = Buffer::from(b"abc".to_vec());
        for more in [1, LARGE, 2 * LARGE] {
            buffer.make_room(more);
            assert!(buffer.capacity() >= 3 + more);
            assert_eq!(**buffer, *b"abc");
        }
        drop(buffer);
        let mut next = Buffer::default();
        next.make_room(LARGE);
        assert!(next.is_empty());
    }
}
