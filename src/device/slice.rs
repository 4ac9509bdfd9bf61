//! A piece of a search, and its result: plain data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::work::{Nonce, Rule, Target};

/// A piece of a search, small enough to wait for.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The target of the work.
    pub target: Target,
    /// Which digests are valid.
    pub rule: Rule,
    /// The nonces to test.
    pub nonces: NonceRange,
    /// Set once no client waits for the answer. The slice may then end early without one. Slices of one search share this
    /// flag; slices of different searches never do.
    pub stop: StopFlag,
}

/// A flag that is set once. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Sets the flag. Returns true if it was not set before.
    pub fn set(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    /// Returns true if the flag is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Two values are equal if they are the same flag.
impl PartialEq for StopFlag {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for StopFlag {}

/// The nonces `start`, `start + 1`, … `start + count − 1`, wrapping at 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceRange {
    /// The first nonce.
    pub start: u64,
    /// The number of nonces.
    pub count: u64,
}

impl NonceRange {
    /// Returns true if `nonce` is in the range.
    pub const fn contains(&self, nonce: Nonce) -> bool {
        nonce.get().wrapping_sub(self.start) < self.count
    }
}

/// The result of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched {
    /// How many nonces were tested, for the hash rate. All of the slice if nothing was found and its flag was not set,
    /// otherwise an estimate.
    pub tried: u64,
    /// A nonce that is valid according to the device.
    pub found: Option<Nonce>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_wraps() {
        let range = NonceRange {
            start: u64::MAX,
            count: 2,
        };
        assert!(
            [u64::MAX, 0]
                .iter()
                .all(|&nonce| range.contains(Nonce::new(nonce)))
        );
        assert!(
            [u64::MAX - 1, 1]
                .iter()
                .all(|&nonce| !range.contains(Nonce::new(nonce)))
        );
    }
}
