//! Holders: what is lent, and to whom.
//!
//! Each loan has a number. Those of one holder form a chain, the newest first, so that a block finds its own at its
//! end, however many the task has. A loan outlives the `Permit` that stands for it, if the task still counts as its
//! holder. Nothing is dropped here: what ends is handed to the caller.

use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use tonnage_core::limits::Request;
use tonnage_core::limits::numbers::NumberMap;

use crate::cpython::{Object, Owned, Visit};
use crate::errors;

/// Names a loan, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loan(u64);

/// How a loan ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By its permit, or `release()`.
    Free,
    /// By `release()`, or the task's end: the permit is gone.
    Dropped,
    /// By `release_on_behalf_of()`, or `release()` of that task.
    Borrowed,
    /// By the end of an `async with` block.
    Block,
    /// By the end of the task that began with it.
    Child,
    /// It has ended, and its block has not.
    Over,
}

pub(super) struct Record {
    pub(super) holder: Holder,
    /// Where the holder is, or was.
    address: u64,
    pub(super) request: Request,
    pub(super) kind: Kind,
    /// When it began, if the limiter asks.
    pub(super) begun_ns: Option<u64>,
    older: Option<Loan>,
    newer: Option<Loan>,
}

impl Record {
    fn is_block(&self) -> bool {
        matches!(self.kind, Kind::Block | Kind::Over)
    }
}

/// Who has it.
pub(super) enum Holder {
    /// No task ran.
    Nobody,
    /// Kept alive while it is lent.
    Kept(Owned),
    /// A weak reference: the task's result may be the permit, which would never be dropped if we kept the task.
    Seen(Owned<PyWeakrefReference>),
}

impl Holder {
    pub(super) fn kept(holder: Option<&Object<'_>>) -> Self {
        holder.map_or(Self::Nobody, |holder| Self::Kept(holder.into()))
    }

    /// Keeps it where it cannot be referred to weakly.
    pub(super) fn seen(holder: Option<&Object<'_>>) -> Self {
        let Some(holder) = holder else { return Self::Nobody };
        match PyWeakrefReference::new(holder) {
            Ok(weak) => Self::Seen(weak.into()),
            Err(error) => {
                errors::swallow(error);
                Self::Kept(holder.into())
            }
        }
    }

    /// The holder itself, if it is alive.
    pub(super) fn get<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        match self {
            Self::Nobody => None,
            Self::Kept(holder) => Some(holder.get_bound(py)),
            Self::Seen(weak) => weak.bind(py).upgrade(),
        }
    }

    fn is(&self, other: Option<&Object<'_>>) -> bool {
        match (self, other) {
            (Self::Nobody, None) => true,
            (Self::Nobody, Some(_)) | (_, None) => false,
            (Self::Kept(holder), Some(other)) => holder.is(other),
            // Compared while it is alive, so that nothing is dropped here.
            (Self::Seen(weak), Some(other)) => weak.bind(other.py()).upgrade().is_some_and(|it| it.is(other)),
        }
    }
}

#[derive(Default)]
pub(super) struct Holders {
    records: NumberMap<Record>,
    /// The newest loan of each holder, by its address.
    newest: NumberMap<Loan>,
    next: u64,
    /// Tasks whose end is told, by their addresses.
    watched: NumberMap<Owned>,
}

/// By what a holder is found. Another may have the address after it, so that each record is compared too.
fn address(holder: Option<&Object<'_>>) -> u64 {
    holder.map_or(0, |holder| holder.as_ptr() as u64)
}

impl Holders {
    /// Notes what was lent.
    #[inline]
    pub(super) fn lend(&mut self, (holder, address): (Holder, u64), request: Request, kind: Kind) -> Loan {
        let loan = Loan(self.next);
        self.next += 1;
        let older = self.newest.insert(address, loan);
        if let Some(older) = older.and_then(|older| self.records.get_mut(&older.0)) {
            older.newer = Some(loan);
        }
        self.records
            .insert(loan.0, Record { holder, address, request, kind, begun_ns: None, older, newer: None });
        loan
    }

    /// Notes when what was lent began.
    #[inline]
    pub(super) fn begin(&mut self, loan: Loan, begun_ns: u64) {
        if let Some(record) = self.records.get_mut(&loan.0) {
            record.begun_ns = Some(begun_ns);
        }
    }

    /// Ends a loan. That of a block stays as long as the block, and the request alone is given.
    #[inline]
    pub(super) fn end(&mut self, loan: Loan) -> Option<(Request, Option<Record>)> {
        let record = self.records.get_mut(&loan.0)?;
        let request = record.request;
        match record.kind {
            Kind::Over => None,
            Kind::Block => {
                record.kind = Kind::Over;
                Some((request, None))
            }
            Kind::Free | Kind::Dropped | Kind::Borrowed | Kind::Child => Some((request, self.remove(loan))),
        }
    }

    /// Ends the newest block of a holder: nothing if there is none.
    #[inline]
    pub(super) fn end_block(&mut self, holder: Option<&Object<'_>>) -> Option<Record> {
        let found = self.find(holder, Record::is_block)?;
        self.remove(found)
    }

    /// The newest loan of a holder that has not ended, and that it can give back itself.
    pub(super) fn newest(&self, holder: Option<&Object<'_>>) -> Option<Loan> {
        self.find(holder, |record| !matches!(record.kind, Kind::Over | Kind::Child))
    }

    /// The permit of a loan is gone; the task has the loan.
    pub(super) fn drop_permit(&mut self, loan: Loan) {
        if let Some(record) = self.records.get_mut(&loan.0)
            && record.kind == Kind::Free
        {
            record.kind = Kind::Dropped;
        }
    }

    /// The newest loan of a task whose permit is gone.
    pub(super) fn newest_dropped(&self, task: &Object<'_>) -> Option<Loan> {
        self.find(Some(task), |record| record.kind == Kind::Dropped)
    }

    /// Notes that the end of a task is told; hands the task back if that was so.
    pub(super) fn watch(&mut self, task: Owned) -> Result<(), Owned> {
        let address = task.as_ptr() as u64;
        if self.watched.contains_key(&address) {
            return Err(task);
        }
        self.watched.insert(address, task);
        Ok(())
    }

    /// The task has ended.
    pub(super) fn unwatch(&mut self, task: &Object<'_>) -> Option<Owned> {
        self.watched.remove(&address(Some(task)))
    }

    /// The blocks that have not ended, with their holders.
    pub(super) fn blocks<'py>(&self, py: Python<'py>) -> Vec<(Loan, Object<'py>)> {
        let blocks = self.records.iter().filter(|(_, record)| record.is_block());
        blocks.filter_map(|(number, record)| Some((Loan(*number), record.holder.get(py)?))).collect()
    }

    pub(super) fn remove(&mut self, loan: Loan) -> Option<Record> {
        let record = self.records.remove(&loan.0)?;
        if let Some(older) = record.older.and_then(|older| self.records.get_mut(&older.0)) {
            older.newer = record.newer;
        }
        if let Some(newer) = record.newer {
            if let Some(newer) = self.records.get_mut(&newer.0) {
                newer.older = record.older;
            }
            return Some(record);
        }
        match record.older {
            Some(older) => self.newest.insert(record.address, older),
            None => self.newest.remove(&record.address),
        };
        Some(record)
    }

    pub(super) fn get(&self, loan: Loan) -> Option<&Record> {
        self.records.get(&loan.0)
    }

    /// Who holds something, each once, the longest first.
    pub(super) fn all<'py>(&self, py: Python<'py>) -> Vec<Object<'py>> {
        let lent = self.records.iter().filter(|(_, record)| record.kind != Kind::Over);
        let mut lent: Vec<_> = lent.map(|(number, record)| (*number, &record.holder)).collect();
        lent.sort_unstable_by_key(|(number, _)| *number);
        let mut holders: Vec<Object<'py>> = vec![];
        let mut known = NumberMap::default();
        for holder in lent.into_iter().filter_map(|(_, holder)| holder.get(py)) {
            if known.insert(address(Some(&holder)), ()).is_none() {
                holders.push(holder);
            }
        }
        holders
    }

    /// How many tokens are lent to blocks and to tasks that release them themselves, and the holders of these.
    pub(super) fn in_blocks<'py>(&self, py: Python<'py>) -> (u64, Vec<Object<'py>>) {
        let of_block = |record: &&Record| matches!(record.kind, Kind::Block | Kind::Dropped);
        let blocks = self.records.values().filter(of_block);
        let tokens = blocks.clone().fold(0, |sum, record| record.request.tokens.saturating_add(sum));
        (tokens, blocks.filter_map(|record| record.holder.get(py)).collect())
    }

    /// Takes all out, for the collector.
    pub(super) fn drain(&mut self) -> (NumberMap<Record>, NumberMap<Owned>) {
        self.newest.clear();
        (std::mem::take(&mut self.records), std::mem::take(&mut self.watched))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let holders = self.records.values().map(|record| match &record.holder {
            Holder::Nobody => 0,
            Holder::Kept(holder) => visit.call(holder),
            Holder::Seen(weak) => visit.call(weak),
        });
        let watched = self.watched.values().map(|task| visit.call(task));
        holders.chain(watched).find(|shown| *shown != 0).unwrap_or(0)
    }

    fn find(&self, holder: Option<&Object<'_>>, wanted: impl Fn(&Record) -> bool) -> Option<Loan> {
        let mut next = self.newest.get(&address(holder)).copied();
        while let Some(loan) = next {
            let record = self.records.get(&loan.0)?;
            if wanted(record) && record.holder.is(holder) {
                return next;
            }
            next = record.older;
        }
        None
    }
}
