//! What a stream transport has still to send.
//!
//! Chunks stay as they came; one vectored write takes many of them. A write
//! may end inside a chunk: `head_sent` says how much of the first chunk is
//! gone. Chunks that are sent wait at the front until the caller takes them
//! with [`WriteQueue::pop_sent`], because dropping one may run the user's code.
//!
//! Invariant: `bytes` is the sum of all chunks' lengths less `head_sent`,
//! without what `pop_sent` has still to hand out. A chunk's length never
//! changes while it is here.

use std::collections::VecDeque;
use std::io::IoSlice;

/// A queue that drained keeps room for this many chunks.
const CHUNKS_KEPT: usize = 64;

/// Chunks to be written, first in, first out. It takes memory from the first chunk on: of many connections, most
/// have nothing to send.
pub struct WriteQueue<C> {
    held: Option<Box<Held<C>>>,
}

struct Held<C> {
    chunks: VecDeque<C>,
    /// Bytes sent from the front of the first chunk on; more than its length
    /// while sent chunks wait for `pop_sent`.
    head_sent: usize,
    bytes: usize,
}

impl<C: AsRef<[u8]>> Default for WriteQueue<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: AsRef<[u8]>> WriteQueue<C> {
    #[must_use]
    pub const fn new() -> Self {
        Self { held: None }
    }

    /// Adds a chunk of which nothing is sent.
    pub fn push(&mut self, chunk: C) {
        let nothing = || Box::new(Held { chunks: VecDeque::new(), head_sent: 0, bytes: 0 });
        let held = self.held.get_or_insert_with(nothing);
        held.bytes += chunk.as_ref().len();
        held.chunks.push_back(chunk);
    }

    /// Adds a chunk whose first `sent` bytes are sent already, as after a
    /// direct write that took only part of it. The queue must be empty.
    pub fn push_rest(&mut self, chunk: C, sent: usize) {
        debug_assert!(self.is_empty(), "a direct write must not overtake the queue");
        self.push(chunk);
        self.advance(sent);
    }

    /// Bytes still to be sent.
    #[inline]
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.bytes)
    }

    /// Chunks that are held, be they unsent or waiting for `pop_sent`.
    #[inline]
    #[must_use]
    pub fn len_chunks(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.chunks.len())
    }

    /// Whether nothing is held, be it unsent or waiting for `pop_sent`.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len_chunks() == 0
    }

    /// The chunks, sent or not, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.held.iter().flat_map(|held| &held.chunks)
    }

    /// The first chunk, and how many of its bytes are sent. Call [`Self::pop_sent`] until it returns
    /// `None` before.
    #[inline]
    #[must_use]
    pub fn head(&self) -> Option<(&C, usize)> {
        let held = self.held.as_ref()?;
        held.chunks.front().map(|chunk| (chunk, held.head_sent))
    }

    /// Fills `slices` with what is to be sent next, and returns the part that
    /// was filled. It is empty only if there is nothing to send.
    #[must_use]
    pub fn io_slices<'queue, 'slices>(
        &'queue self,
        slices: &'slices mut [IoSlice<'queue>],
    ) -> &'slices [IoSlice<'queue>] {
        let mut skipped = self.held.as_ref().map_or(0, |held| held.head_sent);
        let mut filled = 0;
        for chunk in self.iter() {
            if filled == slices.len() {
                break;
            }
            let bytes = chunk.as_ref();
            // An empty slice would waste a place, and so would a sent chunk.
            if let Some(unsent) = bytes.get(skipped..).filter(|unsent| !unsent.is_empty()) {
                slices[filled] = IoSlice::new(unsent);
                filled += 1;
            }
            skipped = skipped.saturating_sub(bytes.len());
        }
        &slices[..filled]
    }

    /// Notes that `sent` more bytes are sent. Call [`Self::pop_sent`] until it
    /// returns `None` next.
    pub fn advance(&mut self, sent: usize) {
        assert!(sent <= self.len_bytes(), "a socket cannot take more than it was offered");
        let Some(held) = &mut self.held else { return };
        held.bytes -= sent;
        held.head_sent += sent;
    }

    /// Hands back the next chunk that is sent in full.
    #[must_use]
    pub fn pop_sent(&mut self) -> Option<C> {
        let Held { chunks, head_sent, .. } = &mut **self.held.as_mut()?;
        let head_len = chunks.front()?.as_ref().len();
        if *head_sent < head_len {
            return None;
        }
        *head_sent -= head_len;
        let chunk = chunks.pop_front();
        if chunks.is_empty() && chunks.capacity() > CHUNKS_KEPT {
            chunks.shrink_to(CHUNKS_KEPT);
        }
        chunk
    }

    /// Hands back all chunks and forgets them, as a transport that aborts does.
    #[must_use]
    pub fn drain(&mut self) -> VecDeque<C> {
        self.held.take().map(|held| held.chunks).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_write(queue: &WriteQueue<&'static [u8]>, slices_max: usize) -> Vec<Vec<u8>> {
        let mut slices = vec![IoSlice::new(&[]); slices_max];
        queue.io_slices(&mut slices).iter().map(|slice| slice.to_vec()).collect()
    }

    fn queue_of(chunks: &[&'static [u8]]) -> WriteQueue<&'static [u8]> {
        let mut queue = WriteQueue::new();
        for chunk in chunks {
            queue.push(*chunk);
        }
        queue
    }

    #[test]
    fn partial_write_goes_on_inside_the_chunk() {
        let mut queue = queue_of(&[b"abc", b"defg", b"hi"]);
        queue.advance(5);
        assert_eq!(queue.pop_sent(), Some(&b"abc"[..]));
        assert_eq!(queue.pop_sent(), None);
        assert_eq!(queue.len_bytes(), 4);
        assert_eq!(next_write(&queue, 8), [&b"fg"[..], b"hi"]);
    }

    #[test]
    fn sent_chunks_are_not_sent_again_before_they_are_popped() {
        let mut queue = queue_of(&[b"abc", b"de", b"f"]);
        queue.advance(4);
        assert_eq!(next_write(&queue, 8), [&b"e"[..], b"f"]);
        queue.advance(2);
        assert!(next_write(&queue, 8).is_empty() && !queue.is_empty());
        assert_eq!(std::iter::from_fn(|| queue.pop_sent()).count(), 3);
        assert!(queue.is_empty());
    }

    #[test]
    fn slices_are_limited() {
        let queue = queue_of(&[b"a", b"b", b"c"]);
        assert_eq!(next_write(&queue, 2), [b"a", b"b"]);
    }

    #[test]
    fn empty_chunks_are_skipped_and_handed_back() {
        let mut queue = queue_of(&[b"", b"a", b"", b"b"]);
        assert_eq!(next_write(&queue, 2), [b"a", b"b"]);
        assert_eq!(queue.pop_sent(), Some(&b""[..]));
        queue.advance(2);
        assert_eq!(std::iter::from_fn(|| queue.pop_sent()).count(), 3);
    }

    #[test]
    fn rest_of_a_direct_write_is_what_remains() {
        let mut queue = WriteQueue::new();
        queue.push_rest(&b"abcdef"[..], 4);
        assert_eq!(queue.len_bytes(), 2);
        assert_eq!(next_write(&queue, 8), [b"ef"]);
    }

    #[test]
    fn drain_hands_back_everything() {
        let mut queue = queue_of(&[b"abc", b"de"]);
        queue.advance(4);
        assert_eq!(queue.drain().len(), 2);
        assert!(queue.is_empty() && queue.len_bytes() == 0);
        queue.push(b"xyz");
        assert_eq!(next_write(&queue, 8), [b"xyz"]);
    }

    #[test]
    fn burst_leaves_no_memory_behind() {
        let mut queue = WriteQueue::new();
        for _ in 0..10_000 {
            queue.push(&b"a"[..]);
        }
        queue.advance(10_000);
        while queue.pop_sent().is_some() {}
        assert!(queue.held.expect("it was used").chunks.capacity() <= CHUNKS_KEPT);
    }
}
