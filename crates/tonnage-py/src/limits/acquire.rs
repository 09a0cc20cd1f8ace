//! Acquiring: `acquire()` and its relatives, and the coroutine that waits in the line.
//!
//! A wait that ends by an error leaves nothing: tokens that came in the same turn go to the next.

use pyo3::prelude::*;
use tonnage_core::limits::line::NO_KEY;
use tonnage_core::limits::{Request, Ticket};

use super::ask::{self, Asked, Wait, try_take};
use super::borrow::{self, Claim};
use super::holders::Kind;
use super::limiter::Limiter;
use super::refusal::check_most;
use super::serve::Payload;
use super::{deadline, keys, permit};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Object, Owned, Parameters, Visit, number};
use crate::immediate::Immediate;
use crate::waiter::Waiter;

pub(crate) type AcquireCoroutine = Coroutine<Acquire>;

/// `acquire()`, `acquire_on_behalf_of()`, and `__aenter__` where it must wait.
pub(crate) struct Acquire {
    limiter: Owned<Limiter>,
    wanted: Wanted,
    purpose: Purpose,
    /// The number of the key, once it was asked for.
    key: u64,
    place: Option<Place>,
}

/// What was asked for.
struct Wanted {
    tokens: u64,
    key: Option<Owned>,
    priority: i64,
}

pub(super) enum Purpose {
    Permit,
    Block,
    /// A token for somebody, and his claim once it is made.
    Borrower(Owned, Option<Claim>),
}

/// Where it stands in the line, and by which future it waits.
struct Place {
    ticket: Ticket,
    waiter: Waiter,
}

impl Wanted {
    const ONE: Self = Self { tokens: 1, key: None, priority: 0 };

    fn parse(args: &Args<'_, '_>, function: &'static str) -> PyResult<Self> {
        if args.positional().is_empty() && !args.has_keywords() {
            return Ok(Self::ONE);
        }
        let names = ["tokens", "key", "priority"];
        let [tokens, key, priority] =
            args.parse(&Parameters { function, names, positional: 1, required: 0 })?;
        Ok(Self {
            tokens: tokens.map_or(Ok(1), |tokens| number::count("tokens", &tokens, 1))?,
            key: key.filter(|key| !key.is_none()).map(Owned::from),
            priority: priority.map_or(Ok(0), |priority| priority.extract())?,
        })
    }

    fn request(&self, key: u64) -> Request {
        Request { tokens: self.tokens, key, priority: self.priority }
    }
}

/// `limiter.acquire(...)`.
pub(super) fn acquire<'py>(this: &Bound<'py, Limiter>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let wanted = Wanted::parse(&args, "Limiter.acquire")?;
    Acquire::create(this, wanted, Purpose::Permit)
}

/// `limiter.acquire_nowait(...)`.
pub(super) fn acquire_nowait<'py>(this: &Bound<'py, Limiter>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let wanted = Wanted::parse(&args, "Limiter.acquire_nowait")?;
    let key = keys::take(this, wanted.key.as_ref().map(|key| key.bind(args.py())))?;
    let request = wanted.request(key);
    let acquired = match ask::try_acquire(this, request, Kind::Free) {
        Ok(Some(permit)) => return Ok(permit),
        Ok(None) => Err(ask::must_wait(this, &request)?),
        Err(error) => Err(error),
    };
    keys::let_go(this, key);
    acquired
}

/// `limiter.__aenter__()`: acts at once if it need not wait.
#[inline]
pub(super) fn enter<'py>(this: &Bound<'py, Limiter>) -> PyResult<Object<'py>> {
    let request = Wanted::ONE.request(NO_KEY);
    if try_take(this, &request)? {
        return Immediate::of(&permit::lend(this, request, Kind::Block)?);
    }
    Acquire::create(this, Wanted::ONE, Purpose::Block)
}

/// `acquire_on_behalf_of(borrower)`.
pub(super) fn on_behalf_of<'py>(this: &Bound<'py, Limiter>, borrower: &Object<'py>) -> PyResult<Object<'py>> {
    Acquire::create(this, Wanted::ONE, Purpose::Borrower(borrower.into(), None))
}

/// `acquire_on_behalf_of_nowait(borrower)`.
pub(super) fn on_behalf_of_nowait<'py>(
    this: &Bound<'py, Limiter>,
    borrower: &Object<'py>,
) -> PyResult<Object<'py>> {
    let claim = borrow::claim(this, borrower)?;
    let request = Wanted::ONE.request(NO_KEY);
    let error = match try_take(this, &request) {
        Ok(true) => return lend_to(this, request, borrower, claim),
        Ok(false) => ask::must_wait(this, &request)?,
        Err(error) => error,
    };
    borrow::disclaim(this, borrower);
    Err(error)
}

/// Notes that the borrower has what was taken.
fn lend_to<'py>(
    this: &Bound<'py, Limiter>,
    request: Request,
    borrower: &Object<'py>,
    claim: Claim,
) -> PyResult<Object<'py>> {
    if let Some(loan) = permit::note(this, request, || Ok(Some(borrower.clone())), Kind::Borrowed)? {
        borrow::fulfil(this, claim, loan);
    }
    Ok(this.py().None().into_bound(this.py()))
}

impl Acquire {
    fn create<'py>(limiter: &Bound<'py, Limiter>, wanted: Wanted, purpose: Purpose) -> PyResult<Object<'py>> {
        let body = Self { limiter: limiter.into(), wanted, purpose, key: NO_KEY, place: None };
        Coroutine::create(limiter.py(), body)
    }

    /// Takes the tokens, or joins the line.
    fn begin<'py>(&mut self, limiter: &Bound<'py, Limiter>) -> PyResult<Next<'py>> {
        let py = limiter.py();
        let request = self.wanted.request(self.key);
        check_most(limiter, &request)?;
        if try_take(limiter, &request)? {
            return self.end(limiter, request);
        }
        let mut made = None;
        let wait = Wait { event_loop: None, deadline_ns: deadline::deadline_of_waiter(py)? };
        let asked = ask::acquire_later(limiter, request, wait, |event_loop| {
            let waiter = made.insert(Waiter::create(event_loop)?);
            Ok(Payload::Waiter(waiter.share(py)))
        })?;
        let waiter = made.expect("who waits has a waiter");
        match asked {
            Asked::Taken => self.end(limiter, request),
            Asked::Waits(ticket) => {
                let next = waiter.wait(py);
                self.place = Some(Place { ticket, waiter });
                Ok(next)
            }
        }
    }

    /// A wait has ended.
    fn go_on<'py>(
        &mut self,
        limiter: &Bound<'py, Limiter>,
        place: &Place,
        awaited: PyResult<Object<'py>>,
    ) -> PyResult<Next<'py>> {
        let py = limiter.py();
        let waited_still = ask::give_up(limiter, place.ticket)?;
        let request = self.wanted.request(self.key);
        let granted = place.waiter.woken_with(py)?.filter(|_| !waited_still);
        match (awaited, granted) {
            (Ok(_), Some(value)) if is_grant(&value) => self.end(limiter, request),
            (Ok(_), Some(error)) => Err(PyErr::from_value(error)),
            // Somebody else ended the future.
            (Ok(_), None) => self.begin(limiter),
            (Err(error), granted) => {
                if granted.is_some_and(|value| is_grant(&value)) {
                    ask::untake(limiter, &request)?;
                }
                Err(error)
            }
        }
    }

    /// The tokens are taken.
    fn end<'py>(&mut self, limiter: &Bound<'py, Limiter>, request: Request) -> PyResult<Next<'py>> {
        let given = match &mut self.purpose {
            Purpose::Permit => permit::lend(limiter, request, Kind::Free)?,
            Purpose::Block => permit::lend(limiter, request, Kind::Block)?,
            Purpose::Borrower(borrower, claim) => match claim.take() {
                Some(claim) => lend_to(limiter, request, borrower.bind(limiter.py()), claim)?,
                None => limiter.py().None().into_bound(limiter.py()),
            },
        };
        // The permit has the reference to the key, or has given it back.
        self.key = NO_KEY;
        Ok(Next::Return(given))
    }

    /// Takes back what the wait has noted.
    fn give_up(&mut self, limiter: &Bound<'_, Limiter>) {
        keys::let_go(limiter, std::mem::replace(&mut self.key, NO_KEY));
        if let Purpose::Borrower(borrower, claim) = &mut self.purpose
            && claim.take().is_some()
        {
            borrow::disclaim(limiter, borrower.bind(limiter.py()));
        }
    }

    fn note_who_asks(&mut self, limiter: &Bound<'_, Limiter>) -> PyResult<()> {
        let py = limiter.py();
        if let Purpose::Borrower(borrower, claim) = &mut self.purpose {
            *claim = Some(borrow::claim(limiter, borrower.bind(py))?);
        }
        self.key = keys::take(limiter, self.wanted.key.as_ref().map(|key| key.bind(py)))?;
        Ok(())
    }
}

/// Was the future woken with tokens, and not with an error?
fn is_grant(value: &Object<'_>) -> bool {
    value.is(crate::future::to_bool(value.py(), true))
}

impl Body for Acquire {
    const QUALNAME: &'static str = "Limiter.acquire";

    #[inline]
    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        // More than one may be more than there can ever be.
        if self.wanted.key.is_some() || self.wanted.tokens != 1 || !matches!(self.purpose, Purpose::Permit) {
            return Ok(None);
        }
        let limiter = self.limiter.bind(py);
        let request = self.wanted.request(NO_KEY);
        if try_take(limiter, &request)? {
            permit::lend(limiter, request, Kind::Free).map(Some)
        } else {
            Ok(None)
        }
    }

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let limiter = self.limiter.get_bound(py);
        let resumed = match self.place.take() {
            Some(place) => self.go_on(&limiter, &place, awaited),
            None => self.note_who_asks(&limiter).and_then(|()| self.begin(&limiter)),
        };
        if resumed.is_err() {
            self.give_up(&limiter);
        }
        resumed
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let borrower = match &self.purpose {
            Purpose::Borrower(borrower, _) => Some(borrower),
            Purpose::Permit | Purpose::Block => None,
        };
        let objects = [self.wanted.key.as_deref(), borrower.map(|borrower| &**borrower)];
        let shown = objects.into_iter().map(|object| visit.option(object)).find(|shown| *shown != 0);
        match (visit.call(&self.limiter), shown) {
            (0, None) => self.place.as_ref().map_or(0, |place| place.waiter.traverse(visit)),
            (0, Some(shown)) | (shown, _) => shown,
        }
    }
}
