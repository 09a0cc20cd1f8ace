//! Native classes: Rust values that live in Python objects of heap types made by `PyType_FromSpec`.
//!
//! Future, Task, Handle and their iterators are made by the hundred thousand, and need slots that
//! PyO3's classes do not offer (a finalizer, `tp_iternext` without an exception object, an instance
//! dictionary that costs nothing until it is used, a free list). The invariants: a value is written
//! before its object is tracked or seen by Python, and dropped once; a subclass in Rust begins with
//! its base's value (`repr(C)`), so that an object of the subclass is one of the base.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::args::Args;
use super::dealloc::dealloc;
use super::free_list::FreeList;
use super::methods;
use super::owned::Owned;
use super::slots::{Object, Slots};
use super::trampoline::run;
use super::unowned::Lent;
use super::visit::Visit;

#[repr(C)]
pub(super) struct NativeObject<T> {
    base: ffi::PyObject,
    pub(super) value: T,
}

/// A field of those classes whose objects take attributes of their own and weak references. CPython
/// finds it by its offset, and makes the dictionary when the first attribute is set.
#[repr(C)]
pub(crate) struct Extras {
    pub(super) dict: Cell<*mut ffi::PyObject>,
    pub(super) weakrefs: Cell<*mut ffi::PyObject>,
}

// SAFETY: both pointers are used under the interpreter lock only, by CPython and by this file.
unsafe impl Send for Extras {}
// SAFETY: as above.
unsafe impl Sync for Extras {}

impl Extras {
    pub(crate) const fn new() -> Self {
        Self { dict: Cell::new(ptr::null_mut()), weakrefs: Cell::new(ptr::null_mut()) }
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        !self.dict.get().is_null() || !self.weakrefs.get().is_null()
    }
}

/// A field of those classes whose objects are called, for calls without a tuple of arguments.
#[repr(transparent)]
pub(crate) struct Vectorcall<T>(ffi::vectorcallfunc, PhantomData<fn(T)>);

impl<T: NativeClass> Vectorcall<T> {
    /// Calls of an object of `T` call `body`.
    pub(crate) fn of<F>(_body: F) -> Self
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        Self(methods::vectorcall::<T, F>, PhantomData)
    }
}

/// Where the value of an object is.
#[inline]
pub(super) fn value_ptr<T>(object: *mut ffi::PyObject) -> *mut T {
    object.wrapping_byte_add(offset_of!(NativeObject<T>, value)).cast()
}

/// The extras of an object, if its class has them.
///
/// # Safety
/// The object is alive, and of T's layout.
#[inline]
pub(super) unsafe fn extras<'a, T: NativeClass>(object: *mut ffi::PyObject) -> Option<&'a Extras> {
    let offset = T::EXTRAS?;
    let place = value_ptr::<T>(object).wrapping_byte_add(offset).cast::<Extras>();
    // SAFETY: the caller hands in an object of this layout; the offset is that of the field (`EXTRAS`).
    Some(unsafe { &*place })
}

/// The count of an object's unowned references, if its class has them.
///
/// # Safety
/// The memory of the object is not freed, and of T's layout.
#[inline]
pub(super) unsafe fn lent<'a, T: NativeLayout>(object: *mut ffi::PyObject) -> Option<&'a Lent> {
    let place = value_ptr::<T>(object).wrapping_byte_add(T::LENT?).cast::<Lent>();
    // SAFETY: the caller hands in an object of this layout; the offset is that of the field (`LENT`).
    Some(unsafe { &*place })
}

/// The type object and the free list of one native class.
pub(crate) struct ClassCell {
    type_object: AtomicPtr<ffi::PyTypeObject>,
    pub(super) free: FreeList,
    /// Objects that are alive; counted in debug builds only.
    live: AtomicIsize,
}

// SAFETY: the list is used under the interpreter lock only.
unsafe impl Send for ClassCell {}
// SAFETY: as above.
unsafe impl Sync for ClassCell {}

impl ClassCell {
    pub(super) const fn new() -> Self {
        Self {
            type_object: AtomicPtr::new(ptr::null_mut()),
            free: FreeList::new(),
            live: AtomicIsize::new(0),
        }
    }

    #[inline]
    pub(super) fn count(&self, change: isize) {
        if cfg!(debug_assertions) {
            self.live.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// How many objects are alive; 0 in release builds.
    pub(super) fn live(&self) -> isize {
        self.live.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn type_ptr(&self, _py: Python<'_>) -> *mut ffi::PyTypeObject {
        self.type_object.load(Ordering::Relaxed)
    }
}

/// Where a native class keeps its type, and what its layout begins with.
///
/// # Safety
/// `cell` returns the same cell at each call and no other class's. If `base` is the type of some class
/// `B`, then `Self` is `repr(C)` and its first field is a `B`. `EXTRAS` is the offset of an `Extras`,
/// `VECTORCALL` that of a `Vectorcall<Self>`, `LENT` that of a `Lent`.
pub(crate) unsafe trait NativeLayout: Sized + Send + Sync + 'static {
    const EXTRAS: Option<usize>;
    const VECTORCALL: Option<usize> = None;
    const LENT: Option<usize> = None;
    fn cell() -> &'static ClassCell;
    fn base(_py: Python<'_>) -> Option<*mut ffi::PyTypeObject> {
        None
    }
}
/// How the value of an object that ends plainly is dropped.
pub(crate) enum PlainDrop {
    InPlace,
    /// What `ends_plainly` has found missing is not looked for.
    ByFields,
    /// It refers to nothing.
    NotAtAll,
}

/// A Rust value that is the body of a Python object.
pub(crate) trait NativeClass: NativeLayout {
    /// The full name, `module.Class`.
    const NAME: &'static CStr;
    /// The docstring, with asyncio's text signature.
    const DOC: &'static CStr;
    /// Is it a name of the module?
    const LISTED: bool = true;
    /// Can its objects be part of a cycle? If they refer to nothing, the collector need not know them.
    const IS_COLLECTED: bool = true;
    /// May Python classes inherit from it?
    const SUBCLASSED: bool = true;
    /// May it be a link of a chain so long that dropping one end would overflow the stack? Chains through
    /// CPython's containers need no care, for these take it.
    fn is_link(&self, _py: Python<'_>) -> bool {
        true
    }
    /// Is `__next__` for the interpreter only, so that objects do not pass for iterators?
    const HIDES_NEXT: bool = false;
    /// Do the interpreter's errors name it without its module, as they name a class written in Python?
    const SHORT_NAME: bool = false;
    /// Has a finalizer work to do? Asked at deallocation, so that most objects skip it.
    fn needs_finalizer(&self, _py: Python<'_>) -> bool {
        false
    }
    /// May it have run, if there is one? Asked before the value is dropped, so that those who know spare CPython the
    /// question.
    fn may_be_finalized(&self, _py: Python<'_>) -> bool {
        true
    }
    /// Is there nothing to finalize, and was nothing, and is it no link? Most objects of a class that answers this are
    /// deallocated without the other questions.
    #[inline]
    fn ends_plainly(&self, _py: Python<'_>) -> bool {
        false
    }
    /// How is one dropped that ends plainly?
    const PLAIN_DROP: PlainDrop = PlainDrop::InPlace;
    /// What drops one that ends plainly, if it is dropped `ByFields`.
    #[inline]
    fn drop_plainly(self) {
        drop(self);
    }
    /// An empty value, for `__new__`; `None` if the class cannot be called.
    fn empty() -> Option<Self>;
    fn slots(slots: &mut Slots<Self>);
    /// Shows each owned reference to the collector.
    fn traverse(&self, visit: &Visit<'_>) -> c_int;
    /// Drops what may be part of a cycle.
    fn clear(&self, py: Python<'_>);
}

/// Access to the value of a native object.
pub(crate) trait Native<'py, T: NativeClass> {
    fn value(&self) -> &T;
}

impl<'py, T: NativeClass> Native<'py, T> for Bound<'py, T> {
    #[inline]
    fn value(&self) -> &T {
        let object = self.as_ptr().cast::<NativeObject<T>>();
        // SAFETY: a `Bound<T>` points to an object of T's type, whose layout is `NativeObject<T>`,
        // and the reference keeps it alive. The value is only mutated inside `Guarded`.
        unsafe { &(*object).value }
    }
}

impl<'py, T: NativeClass> Native<'py, T> for Owned<T> {
    #[inline]
    fn value(&self) -> &T {
        Native::value(&**self)
    }
}

impl<'py, T: NativeClass> Native<'py, T> for Py<T> {
    #[inline]
    fn value(&self) -> &T {
        let object = self.as_ptr().cast::<NativeObject<T>>();
        // SAFETY: as for `Bound`.
        unsafe { &(*object).value }
    }
}

#[inline]
pub(crate) fn is_instance<T: NativeClass>(object: &Bound<'_, PyAny>) -> bool {
    let wanted = T::cell().type_ptr(object.py());
    // SAFETY: both are valid objects.
    unsafe { ffi::PyObject_TypeCheck(object.as_ptr(), wanted) != 0 }
}

/// Is `object` exactly a `T`, not of a Python subclass?
#[inline]
pub(crate) fn is_exact<T: NativeClass>(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a valid object has a type.
    let actual = unsafe { ffi::Py_TYPE(object.as_ptr()) };
    actual == T::cell().type_ptr(object.py())
}

/// The object as a `T`, if it is exactly one.
#[inline]
pub(crate) fn exact<'a, 'py, T: NativeClass>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, T>> {
    if !is_exact::<T>(object) {
        return None;
    }
    // SAFETY: it is of T's own type.
    Some(unsafe { object.cast_unchecked() })
}

/// Does the collector know objects of its class? Those that it does not know refer to no others.
#[inline]
pub(crate) fn is_collected(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a valid object has a type.
    let class = unsafe { ffi::Py_TYPE(object.as_ptr()) };
    // SAFETY: a type is valid as long as its objects.
    unsafe { ffi::PyType_IS_GC(class) != 0 }
}

/// Were attributes set on the object itself, or weak references made to it?
#[inline]
pub(crate) fn has_extras<T: NativeClass>(object: &Bound<'_, T>) -> bool {
    // SAFETY: the object is alive, and of T's layout.
    let extras = unsafe { extras::<T>(object.as_ptr()) };
    extras.is_some_and(Extras::is_any)
}

/// Were attributes set on the object itself?
#[inline]
pub(crate) fn has_instance_dict<T: NativeClass>(object: &Bound<'_, T>) -> bool {
    // SAFETY: the object is alive, and of T's layout.
    let extras = unsafe { extras::<T>(object.as_ptr()) };
    extras.is_some_and(|extras| !extras.dict.get().is_null())
}

pub(crate) fn type_object<T: NativeClass>(py: Python<'_>) -> Bound<'_, PyType> {
    let type_object = T::cell().type_ptr(py);
    assert!(!type_object.is_null(), "the module is initialised before its classes are used");
    // SAFETY: the cell owns a reference for ever, and it is a type object.
    let type_object = unsafe { Bound::from_borrowed_ptr(py, type_object.cast()) };
    // SAFETY: as above.
    unsafe { type_object.cast_into_unchecked() }
}

pub(super) fn type_ptr<T: NativeClass>(py: Python<'_>) -> *mut ffi::PyTypeObject {
    T::cell().type_ptr(py)
}

/// A class whose value begins with that of its base.
///
/// # Safety
/// `Self` is `repr(C)`, its first field is a `B`, and its type inherits from B's.
pub(crate) unsafe trait Extends<B: NativeClass>: NativeClass {}

/// The object as one of its base class.
#[inline]
pub(crate) fn upcast<'a, 'py, T: Extends<B>, B: NativeClass>(object: &'a Bound<'py, T>) -> &'a Bound<'py, B> {
    // SAFETY: the promise of `Extends`.
    unsafe { object.as_any().cast_unchecked() }
}

/// Makes an object of exactly this class.
#[inline]
pub(crate) fn create<T: NativeClass>(py: Python<'_>, value: T) -> PyResult<Bound<'_, T>> {
    create_with(py, || value)
}

/// As `create`, of a large value that is made where it is to stay. `value` must not run Python code.
#[inline(always)]
pub(crate) fn create_with<T: NativeClass>(
    py: Python<'_>,
    value: impl FnOnce() -> T,
) -> PyResult<Bound<'_, T>> {
    let object = create_unseen(py, value)?;
    if T::IS_COLLECTED {
        // SAFETY: the object has a collector's head, all its fields are valid, and it was not tracked yet.
        unsafe { ffi::PyObject_GC_Track(object.as_ptr().cast()) };
    }
    Ok(object)
}

/// As `create_with`, of an object that the collector does not see before `show`, and so takes for one that somebody
/// outside keeps, with all that it refers to.
#[inline(always)]
pub(crate) fn create_unseen<T: NativeClass>(
    py: Python<'_>,
    value: impl FnOnce() -> T,
) -> PyResult<Bound<'_, T>> {
    // A dead object of this very type has its memory and its reference to the type still.
    let kept = T::cell().free.take(py);
    let object = if kept.is_null() { allocate::<T>(py)? } else { kept };
    // SAFETY: the object is ours alone and large enough; nothing was written behind its head yet.
    unsafe { value_ptr::<T>(object).write(value()) };
    T::cell().count(1);
    // SAFETY: a new reference to an object of T's type.
    let object = unsafe { Bound::from_owned_ptr(py, object) };
    // SAFETY: as above.
    Ok(unsafe { object.cast_into_unchecked() })
}

/// Lets the collector see the object, if it does not already.
#[inline]
pub(crate) fn show<T: NativeClass>(object: &Bound<'_, T>) {
    debug_assert!(T::IS_COLLECTED, "the object has a collector's head");
    // SAFETY: an object that is alive.
    if unsafe { ffi::PyObject_GC_IsTracked(object.as_ptr()) } == 0 {
        // SAFETY: the object has a collector's head, and all its fields are valid.
        unsafe { ffi::PyObject_GC_Track(object.as_ptr().cast()) };
    }
}

/// How many references there are to the object.
#[inline(always)]
pub(crate) fn references<T: NativeClass>(object: &Bound<'_, T>) -> isize {
    // SAFETY: a valid object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

#[cold]
#[inline(never)]
fn allocate<T: NativeClass>(py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
    let type_object = T::cell().type_ptr(py);
    let object = if T::IS_COLLECTED {
        // SAFETY: the type object is complete, has no items, and its objects have a collector's head.
        unsafe { ffi::PyObject_GC_New::<ffi::PyObject>(type_object) }
    } else {
        // SAFETY: as above, without the head.
        unsafe { ffi::PyObject_New::<ffi::PyObject>(type_object) }
    };
    if object.is_null() { Err(PyErr::fetch(py)) } else { Ok(object) }
}

/// Makes the type object of `T` and adds it to the module.
pub(super) fn add_class<T: NativeClass>(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    if !T::cell().type_ptr(py).is_null() {
        // Imported once more, as after `del sys.modules[...]`: there is one type of each class.
        let made = type_object::<T>(py);
        return if T::LISTED { module.add(made.name()?, &made) } else { Ok(()) };
    }
    let mut slots = Slots::<T>::new();
    T::slots(&mut slots);
    slots.function(ffi::Py_tp_dealloc, dealloc::<T> as *mut c_void);
    let mut flags = ffi::Py_TPFLAGS_DEFAULT;
    if T::IS_COLLECTED {
        flags |= ffi::Py_TPFLAGS_HAVE_GC;
        slots.function(ffi::Py_tp_traverse, traverse::<T> as *mut c_void);
        slots.function(ffi::Py_tp_clear, clear::<T> as *mut c_void);
    }
    if T::empty().is_some() {
        slots.function(ffi::Py_tp_new, new::<T> as *mut c_void);
    }
    slots.function(ffi::Py_tp_doc, T::DOC.as_ptr() as *mut c_void);
    if let Some(extras) = T::EXTRAS {
        let extras = offset_of!(NativeObject<T>, value) + extras;
        slots.member(c"__dictoffset__", extras + offset_of!(Extras, dict));
        slots.member(c"__weaklistoffset__", extras + offset_of!(Extras, weakrefs));
    }
    if let Some(vectorcall) = T::VECTORCALL {
        slots.member(c"__vectorcalloffset__", offset_of!(NativeObject<T>, value) + vectorcall);
        slots.function(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void);
        flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
    }
    if T::SUBCLASSED {
        flags |= ffi::Py_TPFLAGS_BASETYPE;
    }
    if T::empty().is_none() {
        flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    }
    #[cfg(not(Py_3_14))]
    let block_methods = slots.take_block_methods();
    let mut table = slots.finish();
    let mut spec = ffi::PyType_Spec {
        name: T::NAME.as_ptr(),
        basicsize: c_int::try_from(size_of::<NativeObject<T>>()).expect("an object has some hundred bytes"),
        itemsize: 0,
        flags: u32::try_from(flags).expect("the flags of a type are 32 bits"),
        slots: table.as_mut_ptr(),
    };
    let base = T::base(py).map_or(ptr::null_mut(), <*mut ffi::PyTypeObject>::cast);
    // SAFETY: the spec's tables are leaked where the type keeps pointers to them (`Slots::finish`).
    let type_object = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, base) };
    // SAFETY: a new reference, or null with an exception set.
    let type_object = unsafe { Bound::from_owned_ptr_or_err(py, type_object)? }.cast_into::<PyType>()?;
    #[cfg(not(Py_3_14))]
    super::block_methods::install(block_methods, &type_object)?;
    if T::HIDES_NEXT {
        hide_next(&type_object)?;
    }
    if T::SHORT_NAME {
        type_object.setattr("__name__", type_object.name()?)?;
    }
    if T::LISTED {
        module.add(type_object.name()?, &type_object)?;
    }
    T::cell().type_object.store(type_object.into_ptr().cast(), Ordering::Relaxed);
    Ok(())
}

/// Takes the name `__next__` from the class; the slot stays. Deleting the attribute would clear the slot.
fn hide_next(class: &Bound<'_, PyType>) -> PyResult<()> {
    // SAFETY: a type object is valid, and a heap type has its dictionary in this field.
    let dict = unsafe { (*class.as_type_ptr()).tp_dict };
    // SAFETY: the dictionary is the type's own, which nobody uses yet.
    if unsafe { ffi::PyDict_DelItemString(dict, c"__next__".as_ptr()) } < 0 {
        return Err(PyErr::fetch(class.py()));
    }
    // SAFETY: tells CPython that lookups of the type must not be remembered.
    unsafe { ffi::PyType_Modified(class.as_type_ptr()) };
    Ok(())
}

unsafe extern "C" fn new<T: NativeClass>(
    subtype: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls types on an attached thread; see `slots::run`.
    let py = unsafe { Python::assume_attached() };
    if subtype == T::cell().type_ptr(py) {
        // From the free list, as it goes there.
        let empty = || T::empty().expect("only classes that can be called have this slot");
        return run(ptr::null_mut(), |py| create_with(py, empty).map(Bound::into_ptr));
    }
    // SAFETY: a type object's allocator may be called with it. It zeroes the object and tracks it;
    // no Python code runs before the value is written below.
    let allocate = unsafe { (*subtype).tp_alloc }.expect("each type has an allocator");
    // SAFETY: as above.
    let object = unsafe { allocate(subtype, 0) };
    if !object.is_null() {
        let empty = T::empty().expect("only classes that can be called have this slot");
        // SAFETY: the object is new, zeroed, and ours alone.
        unsafe { value_ptr::<T>(object).write(empty) };
        T::cell().count(1);
    }
    object
}

unsafe extern "C" fn traverse<T: NativeClass>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector runs on an attached thread; see `slots::run`.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the collector hands in a valid object of a heap type, which owns its type.
    let type_object = unsafe { ffi::Py_TYPE(object) };
    // Our own types live for ever (`ClassCell`): only those that inherit from them may be garbage.
    if type_object != T::cell().type_ptr(py) {
        // SAFETY: the pair is the collector's own.
        let shown = unsafe { visit(type_object.cast(), arg) };
        if shown != 0 {
            return shown;
        }
    }
    // SAFETY: a valid object of T's layout; its dictionary is valid or null.
    let dict = unsafe { extras::<T>(object) }.map_or(ptr::null_mut(), |extras| extras.dict.get());
    if !dict.is_null() {
        // SAFETY: as above.
        let shown = unsafe { visit(dict, arg) };
        if shown != 0 {
            return shown;
        }
    }
    // SAFETY: the value was written before the object was tracked (or is inside `tp_alloc`, where no
    // collection runs between tracking and writing).
    unsafe { &*value_ptr::<T>(object) }.traverse(&Visit::Slot { visit, arg })
}

unsafe extern "C" fn clear<T: NativeClass>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: the collector runs on an attached thread; see `slots::run`.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the collector hands in a valid object.
    unsafe { &*value_ptr::<T>(object) }.clear(py);
    // SAFETY: the object is of T's layout.
    let extras = unsafe { extras::<T>(object) };
    let dict = extras.map_or(ptr::null_mut(), |extras| extras.dict.replace(ptr::null_mut()));
    // SAFETY: the dictionary was the object's, or is null.
    unsafe { ffi::Py_XDECREF(dict) };
    0
}
