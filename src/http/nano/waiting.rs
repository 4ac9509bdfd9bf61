//! The requests that wait for a work, so that `work_cancel` can end them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::work::Target;

/// The owner of requests: the name of their API key, or `None` without keys.
pub(super) type Owner = Option<Arc<str>>;

/// The requests that wait, by their root and their owner. The sender is dropped when they are cancelled, and never used
/// otherwise.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<(Target, Owner), watch::Sender<()>>>);

/// A request that waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    waiting: &'a Waiting,
    key: (Target, Owner),
    /// `None` only while it is dropped.
    receiver: Option<watch::Receiver<()>>,
}

impl Waiting {
    /// Adds a request.
    pub(super) fn enter(&self, root: Target, owner: Owner) -> Wait<'_> {
        let key = (root, owner);
        let mut waiting = self.lock();
        let sender = waiting.entry(key.clone());
        let sender = sender.or_insert_with(|| watch::channel(()).0);
        Wait {
            waiting: self,
            receiver: Some(sender.subscribe()),
            key,
        }
    }

    /// Cancels all of the owner's requests for this root. They are woken before this returns.
    pub(super) fn cancel(&self, root: Target, owner: Owner) {
        let sender = self.lock().remove(&(root, owner));
        // Not under the lock, since it wakes all of them.
        drop(sender);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Target, Owner), watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait<'_> {
    /// Completes once the request is cancelled.
    pub(super) async fn cancelled(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            while receiver.changed().await.is_ok() {}
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        drop(self.receiver.take());
        // After a cancel there may be a sender of later requests, which has receivers of its own.
        if waiting
            .get(&self.key)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_cancelled(wait: &mut Wait<'_>) -> bool {
        wait.cancelled().now_or_never().is_some()
    }

    #[test]
    fn a_cancel_ends_the_owners_requests_for_the_root_and_no_others() {
        let waiting = Waiting::default();
        let [root, other] = [1, 2].map(|number| Target::new([number; 32]));
        let alice = || Some(Arc::from("alice"));
        let mut first = waiting.enter(root, alice());
        let mut second = waiting.enter(root, alice());
        let mut elsewhere = waiting.enter(other, alice());
        let mut bob = waiting.enter(root, Some("bob".into()));
        let mut nobody = waiting.enter(root, None);
        waiting.cancel(root, Some("carol".into()));
        assert!(!is_cancelled(&mut first));
        waiting.cancel(root, alice());
        assert!(is_cancelled(&mut first) && is_cancelled(&mut second));
        for wait in [&mut elsewhere, &mut bob, &mut nobody] {
            assert!(!is_cancelled(wait));
        }
        // What comes after the cancel is not cancelled, also once those before it have gone.
        let mut later = waiting.enter(root, alice());
        drop((first, second));
        assert!(!is_cancelled(&mut later));
        waiting.cancel(root, alice());
        assert!(is_cancelled(&mut later));
    }

    #[test]
    fn nothing_is_kept_of_requests_that_have_ended() {
        let waiting = Waiting::default();
        let root = Target::new([1; 32]);
        let waits = [(); 3].map(|()| waiting.enter(root, None));
        assert_eq!(waiting.lock().len(), 1);
        drop(waits);
        assert!(waiting.lock().is_empty());
        let wait = waiting.enter(root, None);
        waiting.cancel(root, None);
        drop(wait);
        assert!(waiting.lock().is_empty());
        waiting.cancel(root, None);
    }
}
