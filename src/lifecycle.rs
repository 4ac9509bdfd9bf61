//! The life of the process. [`service`](crate::service) moves it on, and everything else follows it.

use tokio::sync::watch;

/// Where the process is in its life. Later phases are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Devices are being opened. Only the management port answers.
    Starting,
    /// Requests are served.
    Serving,
    /// Requests are served as before, but clients and load balancers are asked to go elsewhere.
    Leaving,
    /// Accepted requests are finished. No connection is accepted, and idle ones are closed.
    Draining,
}

impl Phase {
    /// The name, as the status page shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Leaving => "leaving",
            Self::Draining => "draining",
        }
    }
}

/// Moves the process through its life, in one direction only. There is one for each process.
#[derive(Debug)]
pub struct Transitions(watch::Sender<Phase>);

/// Follows the life of the process. A clone follows the same life.
#[derive(Clone, Debug)]
pub struct Lifecycle(watch::Receiver<Phase>);

/// Begins a life, in [`Phase::Starting`].
pub fn begin() -> (Transitions, Lifecycle) {
    let (sender, receiver) = watch::channel(Phase::Starting);
    (Transitions(sender), Lifecycle(receiver))
}

impl Transitions {
    /// Requests are served from now on.
    pub fn serving(&self) {
        self.advance(Phase::Serving);
    }

    /// Clients and load balancers are asked to go elsewhere from now on.
    pub fn leaving(&self) {
        self.advance(Phase::Leaving);
    }

    /// The last phase begins: accepted requests are finished.
    pub fn draining(self) {
        self.advance(Phase::Draining);
    }

    /// Never goes back: a phase that is over stays over.
    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let is_later = to > *phase;
            *phase = to.max(*phase);
            is_later
        });
    }
}

impl Lifecycle {
    /// A life that is always in [`Phase::Serving`]. For the management listener, which answers until the process ends.
    pub fn endless() -> Self {
        Self(watch::channel(Phase::Serving).1)
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Completes once the process drains. Never completes if the process ends without draining.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Completes once this phase, or a later one, has come. Never completes if the process ends before.
    pub async fn reached(&self, wanted: Phase) {
        let mut phase = self.0.clone();
        if phase.wait_for(|&phase| phase >= wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_phase_that_is_over_stays_over() {
        let (transitions, lifecycle) = begin();
        assert_eq!(lifecycle.phase(), Phase::Starting);
        transitions.leaving();
        assert_eq!(lifecycle.phase(), Phase::Leaving);
        transitions.serving();
        assert_eq!(lifecycle.phase(), Phase::Leaving);
        transitions.draining();
        assert_eq!(lifecycle.phase(), Phase::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_is_awaited_by_those_who_come_before_and_after() {
        let (transitions, lifecycle) = begin();
        transitions.serving();
        let follower = lifecycle.clone();
        let before = tokio::spawn(async move { follower.draining().await });
        let early = timeout(Duration::from_secs(1), lifecycle.draining()).await;
        assert!(early.is_err(), "the process does not drain yet");
        transitions.draining();
        before.await.unwrap();
        lifecycle.draining().await;
        // It has come, and passed.
        lifecycle.reached(Phase::Leaving).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_life_never_drains() {
        let lifecycle = Lifecycle::endless();
        assert_eq!(lifecycle.phase(), Phase::Serving);
        let drained = timeout(Duration::from_secs(3600), lifecycle.draining()).await;
        assert!(drained.is_err());
    }
}
