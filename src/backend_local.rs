//! State of one backend. A backend is one process with one thread, so a cell without a lock is enough.

use std::cell::{RefCell, RefMut};

/// A value owned by this process alone.
pub struct BackendLocal<T>(RefCell<T>);

// SAFETY: PostgreSQL backends run our code on one thread only; pgrx panics if a second one calls in.
unsafe impl<T> Sync for BackendLocal<T> {}

impl<T> BackendLocal<T> {
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Runs `work` on the value. `work` must not raise, or the value would stay borrowed.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut value: RefMut<'_, T> = self.0.borrow_mut();
        work(&mut value)
    }
}
