//! A limiter with a capacity behaves like a list of those who wait, whatever is done to it in which order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tonnage_core::limits::capacity::Capacity;
use tonnage_core::limits::line::NO_KEY;
use tonnage_core::limits::{Admission, Bounds, Request, Served, Supply, Ticket};

const MAX_WAITING: u64 = 12;
const MAX_WAIT_NS: u64 = 50;
const PER_KEY: u64 = 2;

#[derive(Clone, Debug)]
enum Action {
    Acquire(Request),
    GiveBack(prop::sample::Index),
    /// Any ticket that was ever given out, void ones too.
    Leave(prop::sample::Index),
    SetTotal(u64),
    Pass(u64),
    /// Who is served next gives up in the same moment.
    Refuse,
    Close,
}

fn request() -> impl Strategy<Value = Request> {
    let sizes = prop_oneof![4 => Just(1_u64), 1 => 2..5_u64];
    (sizes, 0..4_u64, -1..2_i64).prop_map(|(tokens, key, priority)| {
        let tokens = if key == NO_KEY { tokens } else { tokens.min(PER_KEY) };
        Request { tokens, key, priority }
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => request().prop_map(Action::Acquire),
        8 => any::<prop::sample::Index>().prop_map(Action::GiveBack),
        4 => any::<prop::sample::Index>().prop_map(Action::Leave),
        1 => (1..7_u64).prop_map(Action::SetTotal),
        2 => (1..30_u64).prop_map(Action::Pass),
        1 => Just(Action::Refuse),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Granted(usize),
    Late(usize),
    Closed(usize),
}

/// Who waits, since when; a number is the index of its ticket.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: usize,
    request: Request,
    since: u64,
}

/// What a limiter should do, written down as plainly as can be.
#[derive(Debug)]
struct Plain {
    total: u64,
    lent: Vec<Request>,
    waiting: Vec<Waiting>,
    /// The keys of each priority, in the order of their turns.
    turns: BTreeMap<i64, Vec<u64>>,
    closed: bool,
}

impl Plain {
    fn in_use(&self) -> u64 {
        self.lent.iter().map(|request| request.tokens).sum()
    }

    fn fits(&self, request: Request) -> bool {
        self.lent.is_empty() || self.in_use() + request.tokens <= self.total
    }

    fn is_at_cap(&self, request: Request) -> bool {
        let of_key = self.lent.iter().filter(|other| other.key == request.key);
        let has: u64 = of_key.map(|other| other.tokens).sum();
        request.key != NO_KEY && has > 0 && has + request.tokens > PER_KEY
    }

    /// The first of each key that may be served, the next turn first.
    fn first(&self, priority: i64) -> Option<Waiting> {
        let firsts = self.turns.get(&priority)?.iter().map(|key| {
            let of_key = |it: &&Waiting| it.request.key == *key && it.request.priority == priority;
            *self.waiting.iter().find(of_key).expect("a turn is of somebody who waits")
        });
        firsts.into_iter().find(|first| !self.is_at_cap(first.request))
    }

    fn may_pass(&self, request: Request) -> bool {
        (request.priority..2).all(|priority| {
            let itself = |it: &Waiting| it.request.key == request.key && it.request.priority == priority;
            self.first(priority).is_none() && !self.waiting.iter().any(itself)
        })
    }

    fn join(&mut self, number: usize, request: Request, since: u64) {
        let turns = self.turns.entry(request.priority).or_default();
        if !turns.contains(&request.key) {
            turns.push(request.key);
        }
        self.waiting.push(Waiting { number, request, since });
    }

    fn remove(&mut self, number: usize) -> Option<Waiting> {
        let place = self.waiting.iter().position(|waiting| waiting.number == number)?;
        let gone = self.waiting.remove(place);
        let Request { key, priority, .. } = gone.request;
        if !self.waiting.iter().any(|it| it.request.key == key && it.request.priority == priority) {
            self.turns.entry(priority).or_default().retain(|other| *other != key);
        }
        Some(gone)
    }

    fn serve(&mut self, now: u64) -> Option<Event> {
        let oldest = *self.waiting.first()?;
        if self.closed {
            return self.remove(oldest.number).map(|gone| Event::Closed(gone.number));
        }
        if let Some(first) = (-1..2).rev().find_map(|priority| self.first(priority))
            && self.fits(first.request)
        {
            let turns = self.turns.entry(first.request.priority).or_default();
            turns.retain(|key| *key != first.request.key);
            turns.push(first.request.key);
            self.remove(first.number);
            self.lent.push(first.request);
            return Some(Event::Granted(first.number));
        }
        let is_late = now - oldest.since >= MAX_WAIT_NS;
        is_late.then(|| self.remove(oldest.number).map(|gone| Event::Late(gone.number))).flatten()
    }
}

struct Model {
    admission: Admission<usize>,
    plain: Plain,
    tickets: Vec<Option<Ticket>>,
    now: u64,
}

impl Model {
    fn new(total: u64) -> Self {
        let supply = Supply::Capacity(Capacity::new(total, Some(PER_KEY)));
        let bounds =
            Bounds { max_waiting: Some(MAX_WAITING), max_wait_ns: Some(MAX_WAIT_NS), target_delay_ns: None };
        let plain = Plain { total, lent: vec![], waiting: vec![], turns: BTreeMap::new(), closed: false };
        Self { admission: Admission::new(supply, bounds), plain, tickets: vec![], now: 0 }
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Acquire(request) => self.acquire(*request),
            Action::GiveBack(choice) => {
                if !self.plain.lent.is_empty() {
                    let request = self.plain.lent.remove(choice.index(self.plain.lent.len()));
                    self.admission.give_back(&request);
                }
            }
            Action::Leave(choice) => {
                if !self.tickets.is_empty() {
                    let number = choice.index(self.tickets.len());
                    let left = self.tickets[number].and_then(|ticket| self.admission.leave(ticket));
                    let expected = self.plain.remove(number).map(|waiting| waiting.number);
                    assert_eq!(left.map(|entry| entry.waiter), expected);
                }
            }
            Action::SetTotal(total) => {
                self.admission.set_total(*total);
                self.plain.total = *total;
            }
            Action::Pass(ns) => self.now += ns,
            Action::Refuse => self.refuse(),
            Action::Close => {
                self.admission.close();
                self.plain.closed = true;
            }
        }
        self.serve();
        self.compare();
    }

    fn acquire(&mut self, request: Request) {
        let number = self.tickets.len();
        if self.admission.most(&request).is_some_and(|most| request.tokens > most) {
            return;
        }
        let is_open = !self.plain.closed && self.plain.fits(request) && !self.plain.is_at_cap(request);
        let expected = is_open && self.plain.may_pass(request);
        assert_eq!(self.admission.try_take(self.now, &request), expected, "{request:?} {:?}", self.plain);
        if expected {
            self.plain.lent.push(request);
            return;
        }
        let may_join = !self.plain.closed && (self.plain.waiting.len() as u64) < MAX_WAITING;
        assert_eq!(self.admission.may_join(self.now, &request, None).is_ok(), may_join);
        if may_join {
            self.tickets.push(Some(self.admission.join(self.now, request, number)));
            self.plain.join(number, request, self.now);
        }
    }

    fn refuse(&mut self) {
        let Some(request) = self.plain.lent.first().copied() else { return };
        self.plain.lent.remove(0);
        self.admission.give_back(&request);
        if let Some(Served::Granted(entry)) = self.admission.serve(self.now) {
            self.admission.untake(&entry.request);
            assert_eq!(self.plain.serve(self.now), Some(Event::Granted(entry.waiter)));
            self.plain.lent.pop();
        }
    }

    fn serve(&mut self) {
        while let Some(served) = self.admission.serve(self.now) {
            let event = match served {
                Served::Granted(entry) => Event::Granted(entry.waiter),
                Served::Late(entry) => Event::Late(entry.waiter),
                Served::Closed(entry) => Event::Closed(entry.waiter),
                Served::Shed(entry) => unreachable!("shed without a target: {entry:?}"),
            };
            assert_eq!(Some(event), self.plain.serve(self.now));
        }
        assert_eq!(self.plain.serve(self.now), None);
    }

    fn compare(&mut self) {
        assert_eq!(self.admission.line().len(), self.plain.waiting.len());
        let Supply::Capacity(capacity) = self.admission.supply() else { unreachable!("it is a capacity") };
        assert_eq!(capacity.in_use(), self.plain.in_use());
        let waiting: Vec<_> = self.admission.line().iter().map(|entry| entry.waiter).collect();
        let expected: Vec<_> = self.plain.waiting.iter().map(|waiting| waiting.number).collect();
        assert_eq!(waiting, expected);
        let oldest = self.plain.waiting.first().map(|waiting| waiting.since + MAX_WAIT_NS);
        assert_eq!(self.admission.next_event_ns(self.now), oldest);
    }
}

proptest! {
    #[test]
    fn a_limiter_is_a_list_of_those_who_wait(
        total in 1..6_u64,
        actions in prop::collection::vec(action(), 1..120),
    ) {
        let mut model = Model::new(total);
        for action in &actions {
            model.apply(action);
        }
        // Whatever was done, all come to their end.
        model.apply(&Action::SetTotal(100));
        while let Some(request) = model.plain.lent.pop() {
            model.admission.give_back(&request);
            model.serve();
        }
        prop_assert!(model.admission.line().is_empty());
        model.apply(&Action::Close);
    }

    #[test]
    fn all_who_wait_are_told_that_it_is_closed(actions in prop::collection::vec(action(), 1..60)) {
        let mut model = Model::new(1);
        for action in &actions {
            model.apply(action);
        }
        model.apply(&Action::Close);
        prop_assert!(model.admission.line().is_empty());
        model.apply(&Action::Acquire(Request { tokens: 1, key: NO_KEY, priority: 0 }));
    }
}
