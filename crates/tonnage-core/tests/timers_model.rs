//! Timers behave like a sorted list, whatever is done to them in which order.

use proptest::prelude::*;
use tonnage_core::timers::{TimerKey, Timers};

#[derive(Clone, Debug)]
enum Action {
    Insert {
        deadline_ns: u64,
    },
    /// Many at once, so that memory grows and is given back.
    Burst {
        deadline_ns: u64,
        count: usize,
    },
    /// Any key that was ever given out, stale ones too.
    Remove {
        choice: prop::sample::Index,
    },
    RemoveMany {
        share: usize,
    },
    Advance {
        by_ns: u64,
    },
    Drain,
}

fn action() -> impl Strategy<Value = Action> {
    // Few different deadlines, so that many are equal.
    let deadline_ns = 0..40_u64;
    prop_oneof![
        8 => deadline_ns.clone().prop_map(|deadline_ns| Action::Insert { deadline_ns }),
        1 => (deadline_ns, 1..3000_usize).prop_map(|(deadline_ns, count)| Action::Burst { deadline_ns, count }),
        6 => any::<prop::sample::Index>().prop_map(|choice| Action::Remove { choice }),
        1 => (1..4_usize).prop_map(|share| Action::RemoveMany { share }),
        3 => (0..10_u64).prop_map(|by_ns| Action::Advance { by_ns }),
        1 => Just(Action::Drain),
    ]
}

/// The timers, and what they should be: each timer's deadline and number, by
/// number. A timer's number is its payload and its index in `keys`.
#[derive(Default)]
struct Model {
    timers: Timers<usize>,
    expected: Vec<(u64, usize)>,
    keys: Vec<TimerKey>,
    now_ns: u64,
}

impl Model {
    fn insert(&mut self, deadline_ns: u64) {
        let number = self.keys.len();
        let deadline_ns = self.now_ns + deadline_ns;
        self.keys.push(self.timers.insert(deadline_ns, number));
        self.expected.push((deadline_ns, number));
    }

    fn remove(&mut self, number: usize) {
        let place = self.expected.binary_search_by_key(&number, |timer| timer.1).ok();
        let value = place.map(|place| self.expected.remove(place).1);
        let key = self.keys[number];
        assert_eq!(self.timers.get(key).copied(), value);
        assert_eq!(self.timers.remove(key), value);
        assert_eq!(self.timers.get(key), None);
    }

    fn apply(&mut self, action: &Action) {
        match *action {
            Action::Insert { deadline_ns } => self.insert(deadline_ns),
            Action::Burst { deadline_ns, count } => (0..count).for_each(|_| self.insert(deadline_ns)),
            Action::Remove { ref choice } => {
                if !self.keys.is_empty() {
                    self.remove(choice.index(self.keys.len()));
                }
            }
            Action::RemoveMany { share } => {
                let numbers: Vec<_> = self.expected.iter().map(|timer| timer.1).collect();
                numbers
                    .iter()
                    .rev()
                    .filter(|number| *number % 4 >= share)
                    .for_each(|number| self.remove(*number));
            }
            Action::Advance { by_ns } => self.advance(by_ns),
            Action::Drain => {
                let mut expected = std::mem::take(&mut self.expected);
                expected.sort_unstable();
                let drained: Vec<_> = self.timers.drain();
                assert_eq!(drained, expected.iter().map(|timer| timer.1).collect::<Vec<_>>());
            }
        }
    }

    fn advance(&mut self, by_ns: u64) {
        self.now_ns += by_ns;
        let mut due: Vec<_> = self.expected.extract_if(.., |timer| timer.0 <= self.now_ns).collect();
        due.sort_unstable();
        let fired: Vec<_> = std::iter::from_fn(|| self.timers.pop_due(self.now_ns)).collect();
        assert_eq!(fired, due.iter().map(|timer| timer.1).collect::<Vec<_>>());
    }

    fn check(&self) {
        assert_eq!(self.timers.len(), self.expected.len());
        assert_eq!(self.timers.is_empty(), self.expected.is_empty());
        assert_eq!(self.timers.peek(), self.expected.iter().map(|timer| timer.0).min());
        assert_eq!(
            self.timers.iter().sum::<usize>(),
            self.expected.iter().map(|timer| timer.1).sum::<usize>()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn timers_behave_like_a_sorted_list(actions in prop::collection::vec(action(), 1..60)) {
        let mut model = Model::default();
        for action in &actions {
            model.apply(action);
            model.check();
        }
        model.advance(1_000);
        assert!(model.timers.is_empty());
    }
}
