//! A lock whose holders do not panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing that runs under these locks can panic halfway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
