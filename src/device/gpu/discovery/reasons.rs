//! Why Vulkan does not list a card, found out with a time limit.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::adapter::{AdapterInfo, nonconformant};
use super::diagnosis::diagnose;
use super::machine::Machine;
use super::obstacle::Obstacle;
use crate::device::stopwatch::Stopwatch;

/// Whether to look for adapters that Vulkan lists and this program leaves out, because their drivers are not conformant.
/// That takes as long as listing does, and calls every driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonconformant {
    /// They are looked for.
    Sought,
    /// They are looked for if a driver offers no card although it is complete.
    SoughtIfSilent,
    /// They are not looked for: a driver has just crashed or not returned.
    NotSought,
}

/// The search for reasons, on a thread that is left behind if it does not end: opening a card's node may block in the kernel,
/// and a driver may block too.
#[derive(Debug)]
pub struct Reasons(Receiver<Vec<Obstacle>>);

impl Reasons {
    /// Begins to look for the reasons why this machine has cards that are not `listed`.
    ///
    /// # Errors
    ///
    /// If there is no thread for it.
    pub fn begin(listed: Vec<AdapterInfo>, nonconformant: Nonconformant) -> io::Result<Self> {
        let (sender, found) = mpsc::channel();
        let find = move || drop(sender.send(find(&Machine::here(), &listed, nonconformant)));
        thread::Builder::new()
            .name("reasons".to_owned())
            .spawn(find)?;
        Ok(Self(found))
    }

    /// Waits up to `limit` for the end. Returns the most telling reason first, or `None` if there is no end by then.
    pub fn wait(&self, limit: Duration) -> Option<Vec<Obstacle>> {
        match Stopwatch::begin().receive(limit, &self.0) {
            Ok(found) => Some(found),
            Err(RecvTimeoutError::Timeout) => None,
            // The thread has panicked, or the reasons were taken before.
            Err(RecvTimeoutError::Disconnected) => Some(Vec::new()),
        }
    }
}

fn find(machine: &Machine, listed: &[AdapterInfo], sought: Nonconformant) -> Vec<Obstacle> {
    let mut obstacles = diagnose(machine, &listed.iter().collect());
    if is_sought(sought, &obstacles) {
        let hidden = nonconformant(listed).into_iter();
        let hidden = hidden.map(|adapter| Obstacle::NotConformant { adapter });
        obstacles.splice(0..0, hidden);
    }
    obstacles
}

fn is_sought(sought: Nonconformant, obstacles: &[Obstacle]) -> bool {
    match sought {
        Nonconformant::Sought => true,
        Nonconformant::SoughtIfSilent => obstacles.iter().any(Obstacle::is_silent),
        Nonconformant::NotSought => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_called_once_more_only_if_one_is_silent_and_none_has_failed() {
        let silent = [Obstacle::Wsl];
        let no_card = [Obstacle::NoCard];
        assert!(is_sought(Nonconformant::Sought, &no_card));
        assert!(is_sought(Nonconformant::SoughtIfSilent, &silent));
        assert!(!is_sought(Nonconformant::SoughtIfSilent, &no_card));
        assert!(!is_sought(Nonconformant::NotSought, &silent));
    }

    #[test]
    fn reasons_that_are_not_found_yet_can_be_waited_for_again() {
        let (sender, found) = mpsc::channel();
        let reasons = Reasons(found);
        assert_eq!(reasons.wait(Duration::ZERO), None);
        sender.send(vec![Obstacle::NoCard]).unwrap();
        assert_eq!(reasons.wait(Duration::ZERO), Some(vec![Obstacle::NoCard]));
        drop(sender);
        assert_eq!(reasons.wait(Duration::ZERO), Some(Vec::new()));
    }
}
