//! Enter: `__aenter__` of what has nothing to wait for, but must be entered by the task that awaits it; and what
//! `__aexit__` is called with.

use pyo3::prelude::*;

use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Object, Owned, Parameters, Visit};

pub(crate) type EnterCoroutine = Coroutine<Enter>;

pub(crate) struct Enter {
    /// Nothing once it was entered.
    block: Option<Owned>,
    enter: fn(&Object<'_>) -> PyResult<()>,
}

/// A coroutine that enters the block, and gives it.
#[inline]
pub(crate) fn enter<'py>(
    block: &Object<'py>,
    enter: fn(&Object<'_>) -> PyResult<()>,
) -> PyResult<Object<'py>> {
    Coroutine::create_with(block.py(), || Enter { block: Some(block.into()), enter })
}

impl Body for Enter {
    const QUALNAME: &'static str = "__aenter__";

    #[inline(always)]
    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        let Some(block) = self.block.take() else { return Ok(None) };
        let block = block.into_bound(py);
        (self.enter)(&block)?;
        Ok(Some(block))
    }

    /// It has ended before.
    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        awaited?;
        Ok(Next::none(py))
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.option(self.block.as_deref())
    }
}

/// The error that leaves a block, from the arguments of `__aexit__(exc_type, exc_val, exc_tb)`; None if none does.
#[inline(always)]
pub(crate) fn error_of_block<'py>(args: &Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<3> = Parameters {
        function: "__aexit__",
        names: ["exc_type", "exc_val", "exc_tb"],
        positional: 3,
        required: 3,
    };
    Ok(match args.positional() {
        [_, error, _] => error.clone(),
        _ => args.parse(&PARAMETERS)?[1].clone().expect("required"),
    })
}
