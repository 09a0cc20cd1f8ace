//! Admission: who may begin at once, who waits, and who is refused. Every limiter is one.
//!
//! Nobody overtakes who could be served: a request that comes while others wait is served before them only if the
//! line lets it pass. Whoever changes what there is (`give_back`, `set_total`, `leave`, the time) calls `serve`
//! until it gives nothing: each call takes one out of the line, with what is to become of him. Invariant: between
//! two such rounds, the first of the line does not fit.

use super::capacity::Capacity;
use super::codel::Codel;
use super::histogram::Histogram;
use super::line::{Entry, Line, Request, Ticket};
use super::rate::Rate;

/// What is handed out.
#[derive(Debug)]
pub enum Supply {
    Capacity(Capacity),
    Rate(Rate),
}

/// The bounds of the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    pub max_waiting: Option<u64>,
    pub max_wait_ns: Option<u64>,
    pub target_delay_ns: Option<u64>,
}

/// Why a request may not join the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Closed,
    /// As many wait as may.
    Full,
    /// It would wait for so long, and that is longer than `max_wait`.
    Delay {
        wait_ns: u64,
    },
    /// It would wait for so long, and that is beyond its deadline.
    Deadline {
        wait_ns: u64,
    },
}

/// What has become of one who waited.
#[derive(Debug)]
pub enum Served<W> {
    /// Has its tokens. If it does not take them, they are to be given back by `untake`.
    Granted(Entry<W>),
    /// Its turn came too late, and the line is overloaded.
    Shed(Entry<W>),
    /// Has waited for `max_wait`.
    Late(Entry<W>),
    /// The limiter was closed.
    Closed(Entry<W>),
}

#[derive(Debug)]
pub struct Admission<W> {
    supply: Supply,
    line: Line<W>,
    bounds: Bounds,
    codel: Option<Codel>,
    closed: bool,
    /// Requests that were served without a wait.
    at_once: u64,
    waits: Histogram,
    waited: u64,
}

impl<W> Admission<W> {
    #[must_use]
    pub fn new(supply: Supply, bounds: Bounds) -> Self {
        let codel = bounds.target_delay_ns.map(Codel::new);
        let (line, waits) = (Line::new(), Histogram::default());
        Self { supply, line, bounds, codel, closed: false, at_once: 0, waits, waited: 0 }
    }

    #[must_use]
    pub fn supply(&self) -> &Supply {
        &self.supply
    }

    #[must_use]
    pub fn line(&self) -> &Line<W> {
        &self.line
    }

    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many requests were served.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.at_once + self.waited
    }

    /// How long those who were served have waited; who did not wait has waited for 0.
    #[must_use]
    pub fn waits(&self) -> (u64, Histogram) {
        (self.at_once, self.waits)
    }

    /// Must a time be given that is the true one, also where nobody waits?
    #[inline]
    #[must_use]
    pub fn needs_time(&self) -> bool {
        matches!(self.supply, Supply::Rate(_))
    }

    /// Does what is handed out come back?
    #[inline]
    #[must_use]
    pub fn is_lent(&self) -> bool {
        matches!(self.supply, Supply::Capacity(_))
    }

    /// Is there a cap on what one key may have, so that it matters who gives back?
    #[inline]
    #[must_use]
    pub fn has_caps(&self) -> bool {
        matches!(&self.supply, Supply::Capacity(capacity) if capacity.per_key().is_some())
    }

    /// The most tokens that a request may want; none: there is no end.
    #[must_use]
    pub fn most(&self, request: &Request) -> Option<u64> {
        match &self.supply {
            Supply::Capacity(capacity) => {
                let per_key = capacity.per_key().filter(|_| request.key != super::line::NO_KEY);
                let most = capacity.total().min(per_key.unwrap_or(u64::MAX));
                Some(most).filter(|most| *most != u64::MAX)
            }
            Supply::Rate(rate) => Some(rate.burst()),
        }
    }

    /// Takes the tokens, if they are there and nobody is before. The request wants no more than `most`.
    #[inline]
    pub fn try_take(&mut self, now_ns: u64, request: &Request) -> bool {
        if self.closed || !self.supply.fits(now_ns, request) || self.supply.is_at_cap(request) {
            return false;
        }
        if !self.line.is_empty() && !self.line.lets_pass(request, |request| self.supply.is_at_cap(request)) {
            return false;
        }
        self.supply.take(now_ns, request);
        self.at_once += 1;
        if let Some(codel) = &mut self.codel {
            codel.saw_no_delay();
        }
        true
    }

    /// May the request wait? `deadline_ns` is when its waiter must be through.
    pub fn may_join(&self, now_ns: u64, request: &Request, deadline_ns: Option<u64>) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.bounds.max_waiting.is_some_and(|most| self.line.len() as u64 >= most) {
            return Err(Refused::Full);
        }
        // Where nobody knows, the wait is at least the least that can be told from none.
        let wait_ns = self.wait_ns(now_ns, request);
        let least_ns = wait_ns.unwrap_or(1);
        if self.bounds.max_wait_ns.is_some_and(|most| least_ns > most) {
            return Err(Refused::Delay { wait_ns: wait_ns.unwrap_or(0) });
        }
        if deadline_ns.is_some_and(|deadline| now_ns.saturating_add(least_ns) > deadline) {
            return Err(Refused::Deadline { wait_ns: wait_ns.unwrap_or(0) });
        }
        Ok(())
    }

    /// How long the request would wait, if that is known: with a rate, and unless others come with a higher priority.
    #[must_use]
    pub fn wait_ns(&self, now_ns: u64, request: &Request) -> Option<u64> {
        let Supply::Rate(rate) = &self.supply else { return None };
        let tokens = self.line.tokens_before(request.priority).saturating_add(request.tokens);
        Some(rate.when(now_ns, tokens) - now_ns)
    }

    /// Lets a request wait that may (`may_join`).
    pub fn join(&mut self, now_ns: u64, request: Request, waiter: W) -> Ticket {
        self.line.join(Entry { request, since_ns: now_ns, waiter })
    }

    /// The waiter gives up; `None` if it has left the line already. Others may be served then.
    #[must_use]
    pub fn leave(&mut self, ticket: Ticket) -> Option<Entry<W>> {
        self.line.leave(ticket)
    }

    /// Takes out who came first: he will never take what he waits for. Nobody else is served for it.
    #[must_use]
    pub fn forget_oldest(&mut self) -> Option<Entry<W>> {
        let (ticket, _) = self.line.oldest()?;
        self.line.leave(ticket)
    }

    /// Takes out who came last: he is refused. Nobody else is served for it.
    #[must_use]
    pub fn forget_newest(&mut self) -> Option<Entry<W>> {
        let ticket = self.line.newest()?;
        self.line.leave(ticket)
    }

    /// How many tokens are lent; 0 if they do not come back.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        match &self.supply {
            Supply::Capacity(capacity) => capacity.in_use(),
            Supply::Rate(_) => 0,
        }
    }

    /// What was admitted has ended.
    #[inline]
    pub fn give_back(&mut self, request: &Request) {
        if let Supply::Capacity(capacity) = &mut self.supply {
            capacity.give_back(request.tokens, request.key);
            self.line.may_have_room(request.key);
        }
    }

    /// What was granted is not used: as if it had never been taken.
    pub fn untake(&mut self, request: &Request) {
        match &mut self.supply {
            Supply::Capacity(_) => self.give_back(request),
            Supply::Rate(rate) => rate.untake(request.tokens),
        }
    }

    /// Changes the total of a capacity.
    pub fn set_total(&mut self, total: u64) {
        if let Supply::Capacity(capacity) = &mut self.supply {
            capacity.set_total(total);
        }
    }

    /// Admits nobody any more. Who waits is handed out by `serve`.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Takes the next out of the line whom something becomes of at this time. Who is granted is not counted as
    /// admitted before `count` is called, as he may have given up.
    #[must_use]
    pub fn serve(&mut self, now_ns: u64) -> Option<Served<W>> {
        let (ticket, oldest) = self.line.oldest()?;
        let oldest_ns = now_ns.saturating_sub(oldest.since_ns);
        if self.closed {
            return self.line.leave(ticket).map(Served::Closed);
        }
        let Self { supply, line, codel, .. } = self;
        let is_at_cap = |request: &Request| supply.is_at_cap(request);
        if line.first(is_at_cap).is_some_and(|first| supply.fits(now_ns, &first.request)) {
            let entry = line.take_first(is_at_cap)?;
            let delay_ns = now_ns.saturating_sub(entry.since_ns);
            if codel.as_mut().is_some_and(|codel| codel.refuses(now_ns, delay_ns)) {
                return Some(Served::Shed(entry));
            }
            supply.take(now_ns, &entry.request);
            return Some(Served::Granted(entry));
        }
        if self.bounds.max_wait_ns.is_some_and(|most| oldest_ns >= most) {
            return self.line.leave(ticket).map(Served::Late);
        }
        None
    }

    /// Somebody who was granted has taken it, after a wait.
    pub fn count(&mut self, waited_ns: u64) {
        self.waited += 1;
        self.waits.add(waited_ns);
    }

    /// When `serve` may give something though nothing else changes.
    #[must_use]
    pub fn next_event_ns(&mut self, now_ns: u64) -> Option<u64> {
        let (_, oldest) = self.line.oldest()?;
        let late_ns = self.bounds.max_wait_ns.map(|most| oldest.since_ns.saturating_add(most));
        let Self { supply, line, .. } = self;
        let due_ns = match supply {
            Supply::Capacity(_) => None,
            Supply::Rate(rate) => line.first(|_| false).map(|first| rate.when(now_ns, first.request.tokens)),
        };
        late_ns.into_iter().chain(due_ns).min()
    }
}

impl Supply {
    #[inline]
    fn fits(&self, now_ns: u64, request: &Request) -> bool {
        match self {
            Self::Capacity(capacity) => capacity.fits(request),
            Self::Rate(rate) => rate.fits(now_ns, request.tokens),
        }
    }

    #[inline]
    fn is_at_cap(&self, request: &Request) -> bool {
        match self {
            Self::Capacity(capacity) => capacity.is_at_cap(request),
            Self::Rate(_) => false,
        }
    }

    #[inline]
    fn take(&mut self, now_ns: u64, request: &Request) {
        match self {
            Self::Capacity(capacity) => capacity.take(request),
            Self::Rate(rate) => rate.take(now_ns, request.tokens),
        }
    }
}
