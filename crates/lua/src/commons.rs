//! What the services of a process share, for each module that shares something.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

/// One value of each type, made when it is first asked for.
#[derive(Default)]
pub(crate) struct Commons(Mutex<FxHashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Commons {
    /// The value of this type.
    pub(crate) fn of<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = all
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(T::default()));
        // The key is the value's type.
        value
            .clone()
            .downcast()
            .expect("a value has its key's type")
    }
}

impl fmt::Debug for Commons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commons")
    }
}
