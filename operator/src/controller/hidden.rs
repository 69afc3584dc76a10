//! What must never get into a log, by whatever way.

use std::fmt;

/// A value without a printed form: `{:?}` of it, and of whatever holds it, shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden<T>(pub T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[hidden]")
    }
}
