//! A write queue sends each byte once and in order, and hands back each chunk once.

use std::io::IoSlice;

use proptest::prelude::*;
use tonnage_core::write_queue::WriteQueue;

#[derive(Clone, Debug)]
enum Action {
    Push(Vec<u8>),
    /// A write of at most so many slices, of which the socket takes a share.
    Write {
        slices_max: usize,
        taken: prop::sample::Index,
    },
    Pop {
        count: usize,
    },
    Drain,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Action::Push),
        6 => (1..8_usize, any::<prop::sample::Index>())
            .prop_map(|(slices_max, taken)| Action::Write { slices_max, taken }),
        4 => (0..6_usize).prop_map(|count| Action::Pop { count }),
        1 => Just(Action::Drain),
    ]
}

#[derive(Default)]
struct Model {
    queue: WriteQueue<Vec<u8>>,
    /// What `queue` holds: unsent bytes, and all chunks with the offset of their end in the stream.
    unsent: Vec<u8>,
    chunks: Vec<(usize, Vec<u8>)>,
    pushed_bytes: usize,
}

impl Model {
    fn push(&mut self, chunk: Vec<u8>) {
        self.unsent.extend_from_slice(&chunk);
        self.pushed_bytes += chunk.len();
        self.chunks.push((self.pushed_bytes, chunk.clone()));
        self.queue.push(chunk);
    }

    fn write(&mut self, slices_max: usize, taken: prop::sample::Index) {
        let mut slices = vec![IoSlice::new(&[]); slices_max];
        let offered: Vec<u8> =
            self.queue.io_slices(&mut slices).iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(self.unsent.starts_with(&offered));
        assert_eq!(offered.is_empty(), self.unsent.is_empty());
        let sent = taken.index(offered.len() + 1);
        self.unsent.drain(..sent);
        self.queue.advance(sent);
    }

    fn pop(&mut self) -> bool {
        let sent_bytes = self.pushed_bytes - self.unsent.len();
        let is_sent = self.chunks.first().is_some_and(|(end, _)| *end <= sent_bytes);
        let expected = is_sent.then(|| self.chunks.remove(0).1);
        assert_eq!(self.queue.pop_sent(), expected);
        is_sent
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Push(chunk) => self.push(chunk),
            Action::Write { slices_max, taken } => self.write(slices_max, taken),
            Action::Pop { count } => {
                for _ in 0..count {
                    self.pop();
                }
            }
            Action::Drain => {
                let chunks: Vec<_> = self.chunks.drain(..).map(|(_, chunk)| chunk).collect();
                assert_eq!(Vec::from(self.queue.drain()), chunks);
                self.unsent.clear();
            }
        }
        assert_eq!(self.queue.len_bytes(), self.unsent.len());
        assert_eq!(self.queue.is_empty(), self.chunks.is_empty());
        assert!(self.queue.iter().eq(self.chunks.iter().map(|(_, chunk)| chunk)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_byte_is_sent_once_and_in_order(actions in prop::collection::vec(action(), 1..60)) {
        let mut model = Model::default();
        for action in actions {
            model.apply(action);
        }
        let rest = model.unsent.len();
        model.queue.advance(rest);
        model.unsent.clear();
        while model.pop() {}
        assert!(model.queue.is_empty());
    }
}
