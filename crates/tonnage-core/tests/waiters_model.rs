//! A line of waiters behaves like a list, whatever is done to it in which order.

use proptest::prelude::*;
use tonnage_core::waiters::{Ticket, Waiters};

#[derive(Clone, Debug)]
enum Action {
    Push,
    PushFront,
    /// Many at once, so that memory grows and is given back.
    Burst(usize),
    Pop,
    PopMany(usize),
    /// Any ticket that was ever given out, void ones too.
    Remove(prop::sample::Index),
    Drain,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => Just(Action::Push),
        2 => Just(Action::PushFront),
        1 => (1..300_usize).prop_map(Action::Burst),
        6 => Just(Action::Pop),
        1 => (1..300_usize).prop_map(Action::PopMany),
        6 => any::<prop::sample::Index>().prop_map(Action::Remove),
        1 => Just(Action::Drain),
    ]
}

/// The line, and what it should be: the waiters' numbers in order. A number is the index of its ticket.
#[derive(Default)]
struct Model {
    line: Waiters<usize>,
    expected: Vec<usize>,
    tickets: Vec<Ticket>,
}

impl Model {
    fn push(&mut self) {
        let number = self.tickets.len();
        self.tickets.push(self.line.push(number));
        self.expected.push(number);
    }

    fn pop(&mut self) {
        let first = if self.expected.is_empty() { None } else { Some(self.expected.remove(0)) };
        assert_eq!(self.line.pop(), first);
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Push => self.push(),
            Action::PushFront => {
                let number = self.tickets.len();
                self.tickets.push(self.line.push_front(number));
                self.expected.insert(0, number);
            }
            Action::Burst(count) => (0..*count).for_each(|_| self.push()),
            Action::Pop => self.pop(),
            Action::PopMany(count) => (0..*count).for_each(|_| self.pop()),
            Action::Remove(choice) => {
                if self.tickets.is_empty() {
                    return;
                }
                let number = choice.index(self.tickets.len());
                let place = self.expected.iter().position(|waiting| *waiting == number);
                let removed = place.map(|place| self.expected.remove(place));
                assert_eq!(self.line.remove(self.tickets[number]), removed);
            }
            Action::Drain => {
                assert_eq!(self.line.drain(), std::mem::take(&mut self.expected));
            }
        }
        assert_eq!(self.line.len(), self.expected.len());
        assert_eq!(self.line.first(), self.expected.first());
    }
}

proptest! {
    #[test]
    fn a_line_is_a_list(actions in prop::collection::vec(action(), 1..200)) {
        let mut model = Model::default();
        for action in &actions {
            model.apply(action);
        }
        prop_assert!(model.line.iter().eq(model.expected.iter()));
    }
}
