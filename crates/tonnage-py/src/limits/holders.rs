//! Holders: what is lent, and to whom.
//!
//! Each loan has a number. Those of one holder form a chain, the newest first, so that a block finds its own at its
//! end, however many the task has. A loan outlives the `Permit` that stands for it, if the task still counts as its
//! holder. Nothing is dropped here: what ends is handed to the caller.

use pyo3::prelude::*;
use tonnage_core::limits::Request;
use tonnage_core::limits::numbers::NumberMap;

use crate::cpython::{Object, Owned, Visit};

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
    /// It has ended, and its block has not.
    Over,
}

pub(super) struct Record {
    /// None: nobody, as no task ran.
    pub(super) holder: Option<Owned>,
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

#[derive(Default)]
pub(super) struct Holders {
    records: NumberMap<Record>,
    /// The newest loan of each holder, by its address.
    newest: NumberMap<Loan>,
    next: u64,
    /// Tasks whose end is told, by their addresses.
    watched: NumberMap<Owned>,
}

/// By what a holder is found. The records keep it alive, so that nobody else has its address.
fn address(holder: Option<&Py<PyAny>>) -> u64 {
    holder.map_or(0, |holder| holder.as_ptr() as u64)
}

impl Holders {
    /// Notes what was lent.
    #[inline]
    pub(super) fn lend(
        &mut self,
        holder: Option<Owned>,
        request: Request,
        (kind, begun_ns): (Kind, Option<u64>),
    ) -> Loan {
        let loan = Loan(self.next);
        self.next += 1;
        let older = self.newest.insert(address(holder.as_deref()), loan);
        if let Some(older) = older.and_then(|older| self.records.get_mut(&older.0)) {
            older.newer = Some(loan);
        }
        self.records.insert(loan.0, Record { holder, request, kind, begun_ns, older, newer: None });
        loan
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
            Kind::Free | Kind::Dropped | Kind::Borrowed => Some((request, self.remove(loan))),
        }
    }

    /// Ends the newest block of a holder: nothing if there is none.
    #[inline]
    pub(super) fn end_block(&mut self, holder: Option<&Object<'_>>) -> Option<Record> {
        let found = self.find(holder, Record::is_block)?;
        self.remove(found)
    }

    /// The newest loan of a holder that has not ended.
    pub(super) fn newest(&self, holder: Option<&Object<'_>>) -> Option<Loan> {
        self.find(holder, |record| record.kind != Kind::Over)
    }

    /// The permit of a loan is gone; the task keeps the loan.
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
        let address = address(Some(&task));
        if self.watched.contains_key(&address) {
            return Err(task);
        }
        self.watched.insert(address, task);
        Ok(())
    }

    /// The task has ended.
    pub(super) fn unwatch(&mut self, task: &Object<'_>) -> Option<Owned> {
        self.watched.remove(&address(Some(task.as_unbound())))
    }

    /// The blocks that have not ended, with their holders.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (Loan, &Owned)> {
        let blocks = self.records.iter().filter(|(_, record)| record.is_block());
        blocks.filter_map(|(number, record)| Some((Loan(*number), record.holder.as_ref()?)))
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
        let holder = address(record.holder.as_deref());
        match record.older {
            Some(older) => self.newest.insert(holder, older),
            None => self.newest.remove(&holder),
        };
        Some(record)
    }

    pub(super) fn get(&self, loan: Loan) -> Option<&Record> {
        self.records.get(&loan.0)
    }

    /// Who holds something, each once, the longest first.
    pub(super) fn all<'py>(&self, py: Python<'py>) -> Vec<Object<'py>> {
        let mut oldest: Vec<_> = self.records.iter().filter(|(_, record)| record.older.is_none()).collect();
        oldest.sort_unstable_by_key(|(number, _)| **number);
        oldest.into_iter().filter_map(|(_, record)| Some(record.holder.as_ref()?.get_bound(py))).collect()
    }

    /// Takes all out, for the collector.
    pub(super) fn drain(&mut self) -> (NumberMap<Record>, NumberMap<Owned>) {
        self.newest.clear();
        (std::mem::take(&mut self.records), std::mem::take(&mut self.watched))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let holders = self.records.values().map(|record| visit.option(record.holder.as_deref()));
        let watched = self.watched.values().map(|task| visit.call(task));
        holders.chain(watched).find(|shown| *shown != 0).unwrap_or(0)
    }

    fn find(&self, holder: Option<&Object<'_>>, wanted: impl Fn(&Record) -> bool) -> Option<Loan> {
        let mut next = self.newest.get(&address(holder.map(|holder| holder.as_unbound()))).copied();
        while let Some(loan) = next {
            let record = self.records.get(&loan.0)?;
            if wanted(record) {
                return next;
            }
            next = record.older;
        }
        None
    }
}
