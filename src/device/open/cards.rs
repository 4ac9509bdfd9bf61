//! Opens the chosen cards, and finds out why others cannot be used.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::child::{ListError, Lister};
use super::outcome::{Missing, OpenDevices};
use crate::device::gpu::discovery::{Machine, Obstacle, Offered, diagnose, nonconformant};
use crate::device::gpu::{
    Adapter, AdapterInfo, AdapterKind, Kernel, Listing, Opening, Selection, SelectionError,
    SoftwareAdapters,
};
use crate::device::opened::{Absent, Device};

/// How long listing the cards may take.
const LIST_LIMIT: Duration = Duration::from_secs(10);

/// Finds the chosen cards, at the start and later.
#[derive(Debug)]
pub(super) struct Finder {
    selection: Selection,
    software: SoftwareAdapters,
    /// The kernel of the cards. `None` is the fastest of each.
    kernel: Option<Kernel>,
    /// Lists in a process of its own first. Without it, a driver that crashes takes this process with it.
    lister: Option<Lister>,
    /// A listing in this process that has not ended yet.
    listing: Option<Listing>,
    /// The labels of the adapters that this process has listed.
    known: BTreeSet<String>,
    /// Why cards were missing the last time.
    missing: Option<Missing>,
}

/// What came of opening the chosen cards.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) opened: OpenDevices,
    /// Why cards are not used, a line each. There is at least one if no card is used.
    pub(super) reasons: Vec<String>,
    /// Whether a card should be there: one is listed and not open, or the listing fails, or the machine shows signs of
    /// one.
    pub(super) may_appear: bool,
}

impl Finder {
    pub(super) fn new(
        selection: Selection,
        software: SoftwareAdapters,
        kernel: Option<Kernel>,
        lister: Option<Lister>,
    ) -> Self {
        Self {
            selection,
            software,
            kernel,
            lister,
            listing: None,
            known: BTreeSet::new(),
            missing: None,
        }
    }

    /// Opens the chosen cards, without a fallback. A card that is not listed or cannot be opened does not keep the others
    /// from serving: after a restart, a server with one broken card serves with the rest.
    pub(super) fn open(&mut self) -> Found {
        let listed = match self.list_in_child() {
            // The child stays while the cards are listed here.
            Ok(_child) => self.list(),
            Err(error) => Err(error),
        };
        self.open_new(listed)
    }

    /// Looks for cards that have not been listed before, and opens them. `None` if nothing has changed.
    pub(super) fn look_again(&mut self) -> Option<OpenDevices> {
        let before = self.missing.clone();
        let listed = match self.list_in_child() {
            Ok(Some(child)) if child.labels.iter().all(|label| self.known.contains(label)) => {
                return None;
            }
            Ok(_child) => self.list(),
            Err(error) => Err(error),
        };
        let Found {
            opened, reasons, ..
        } = self.open_new(listed);
        let has_news = opened.missing != before;
        if has_news {
            log(&reasons);
        }
        let has_cards = !opened.devices.is_empty() || !opened.absent.is_empty();
        (has_news || has_cards).then_some(opened)
    }

    fn list_in_child(&self) -> Result<Option<super::child::Listed>, ListError> {
        let Some(lister) = &self.lister else {
            return Ok(None);
        };
        let started = Instant::now();
        match lister.list(LIST_LIMIT) {
            Ok(listed) => {
                tracing::debug!(
                    adapters = listed.labels.len(),
                    milliseconds = milliseconds(started),
                    "listed the Vulkan adapters in a process of its own"
                );
                Ok(Some(listed))
            }
            Err(ListError::NoAnswer(error)) => {
                tracing::warn!(
                    error,
                    "cannot list the cards in a process of its own first; if this process ends here, a Vulkan driver has \
                     crashed: choose ATTO_WORK_BACKEND=cpu, or leave the driver out with VK_LOADER_DRIVERS_DISABLE"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Lists in this process, unless it still does.
    fn list(&mut self) -> Result<Vec<Adapter>, ListError> {
        let started = Instant::now();
        let listing = match self.listing.take() {
            Some(listing) => listing,
            None => Listing::begin()
                .map_err(|error| ListError::NoAnswer(format!("no thread to list in: {error}")))?,
        };
        let Some(adapters) = listing.wait(LIST_LIMIT) else {
            self.listing = Some(listing);
            return Err(ListError::Hung(LIST_LIMIT));
        };
        tracing::info!(
            adapters = adapters.as_ref().map_or(0, Vec::len),
            milliseconds = milliseconds(started),
            "listed the Vulkan adapters"
        );
        Ok(adapters?)
    }

    /// Opens those of the chosen adapters that are new.
    fn open_new(&mut self, listed: Result<Vec<Adapter>, ListError>) -> Found {
        let (adapters, failure) = match listed {
            Ok(adapters) => (adapters, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let chosen = self.selection.choose(&adapters, self.software);
        let mut found = Found::default();
        let mut failures = Vec::new();
        let is_new = |adapter: &&Adapter| !self.known.contains(&adapter.info().label);
        let new: Vec<_> = chosen.adapters.iter().copied().filter(is_new).collect();
        for opened in open_each(&new, self.kernel) {
            match opened {
                Ok(device) => found.opened.devices.push(device),
                Err(absent) => {
                    failures.push(format!("{}: {}", absent.info.name, absent.error));
                    found.opened.absent.push(*absent);
                }
            }
        }
        let infos: Vec<_> = adapters.iter().map(Adapter::info).collect();
        let is_served = chosen.adapters.len() > found.opened.absent.len();
        // Without a list nothing is known of cards that were listed before.
        let obstacles = if failure.is_some() && !self.known.is_empty() {
            Vec::new()
        } else {
            obstacles(&infos, &self.selection, is_served)
        };
        let unmatched = match failure {
            Some(_) => Vec::new(),
            None => chosen.unmatched,
        };
        found.may_appear = failure.is_some()
            || !found.opened.absent.is_empty()
            || obstacles.iter().any(Obstacle::is_of_a_card);
        found.opened.missing = missing(failure.as_ref(), &unmatched, &obstacles);
        let missing = found.opened.missing.iter();
        let reasons = missing.flat_map(|missing| missing.reasons.iter().cloned());
        found.reasons = reasons.chain(failures).collect();
        self.missing.clone_from(&found.opened.missing);
        let labels = infos.iter().map(|info| info.label.clone());
        self.known.extend(labels);
        found
    }
}

/// Opens adapters, all at once: a driver may take a second to compile for one. Two drivers may offer the same card. It is
/// opened through one after the other, so that they do not disturb each other's measurements, and the faster serves.
fn open_each(adapters: &[&Adapter], kernel: Option<Kernel>) -> Vec<Result<Device, Box<Absent>>> {
    let buses: Vec<_> = adapters
        .iter()
        .map(|adapter| adapter.info().pci.as_deref())
        .collect();
    let cards = by_card(&buses);
    let mut opened: Vec<Vec<_>> = cards.iter().map(|_| Vec::new()).collect();
    let most = cards.iter().map(Vec::len).max().unwrap_or(0);
    for driver in 0..most {
        let begin = |(card, drivers): (usize, &Vec<usize>)| {
            let &adapter = drivers.get(driver)?;
            Some((card, Opening::begin(adapters[adapter], kernel)))
        };
        let openings: Vec<_> = cards.iter().enumerate().filter_map(begin).collect();
        for (card, opening) in openings {
            opened[card].push(opening.finish());
        }
    }
    opened.into_iter().filter_map(fastest).collect()
}

/// The places of the adapters of each card: those at the same PCI id are one card.
fn by_card(buses: &[Option<&str>]) -> Vec<Vec<usize>> {
    let mut cards: Vec<Vec<usize>> = Vec::new();
    for (place, bus) in buses.iter().enumerate() {
        let same = |card: &&mut Vec<usize>| bus.is_some() && buses[card[0]] == *bus;
        match cards.iter_mut().find(same) {
            Some(card) => card.push(place),
            None => cards.push(vec![place]),
        }
    }
    cards
}

/// The card as its fastest driver offers it, or else the first reason why it is not open.
fn fastest(drivers: Vec<Result<Device, Box<Absent>>>) -> Option<Result<Device, Box<Absent>>> {
    let several = drivers.len() > 1;
    let (open, absent): (Vec<_>, Vec<_>) = drivers.into_iter().partition(Result::is_ok);
    let rate = |device: &Device| {
        let trials = device.info.trials.iter();
        trials.map(|trial| trial.hashes_per_second).max()
    };
    let best = open.into_iter().flatten().max_by_key(rate);
    if let Some(device) = &best
        && several
    {
        tracing::info!(
            device = device.info.name,
            "several drivers offer this card, and the fastest serves"
        );
    }
    best.map(Ok).or(absent.into_iter().next())
}

fn milliseconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

/// Warns of each reason why a card is not used.
pub(super) fn log(reasons: &[String]) {
    for reason in reasons {
        tracing::warn!(reason, "a graphics card cannot be used");
    }
}

/// Why Vulkan lists no card. Empty if it lists one: the reasons are then known from opening it.
fn obstacles(infos: &[&AdapterInfo], selection: &Selection, is_served: bool) -> Vec<Obstacle> {
    let is_software = |info: &&AdapterInfo| info.kind == AdapterKind::Software;
    if !infos.iter().all(is_software) {
        return Vec::new();
    }
    let offered: Offered = infos.iter().copied().collect();
    let mut obstacles = diagnose(&Machine::here(), &offered);
    // Only then, since it takes as long as listing does.
    if obstacles.iter().any(Obstacle::is_silent) {
        let hidden = nonconformant(infos).into_iter();
        let hidden = hidden.map(|adapter| Obstacle::NotConformant { adapter });
        obstacles.splice(0..0, hidden);
    }
    if is_served {
        // A software adapter serves. An operator who named it wants no card; otherwise it stands in for one.
        let is_named = *selection != Selection::default();
        obstacles.retain(|obstacle| obstacle.is_of_a_card() && !is_named);
    }
    obstacles
}

/// Why cards are missing: Vulkan cannot list them, no adapter matches the operator's names, or the machine has
/// obstacles.
fn missing(
    failure: Option<&ListError>,
    unmatched: &[SelectionError],
    obstacles: &[Obstacle],
) -> Option<Missing> {
    let failure_reason = failure.into_iter().map(ToString::to_string);
    let unmatched_reasons = unmatched.iter().map(ToString::to_string);
    let obstacle_reasons = obstacles.iter().map(ToString::to_string);
    let reasons: Vec<_> = failure_reason
        .chain(unmatched_reasons)
        .chain(obstacle_reasons)
        .collect();
    (!reasons.is_empty()).then(|| Missing {
        is_expected: failure.is_some()
            || !unmatched.is_empty()
            || obstacles.iter().any(Obstacle::is_of_a_card),
        reasons,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend, DeviceError, DeviceInfo, Opener, Trial};

    #[test]
    fn missing_cards_are_expected_only_if_they_are_named_or_seen() {
        let is_expected = |is_named: bool, obstacles: &[Obstacle]| {
            let unmatched = SelectionError::NoMatch {
                selector: "radeon".to_owned(),
                available: "there is none".to_owned(),
            };
            let unmatched: Vec<_> = is_named.then_some(unmatched).into_iter().collect();
            let missing = missing(None, &unmatched, obstacles).unwrap();
            assert_eq!(missing.reasons.len(), unmatched.len() + obstacles.len());
            missing.is_expected
        };
        let nothing_seen = [Obstacle::NoCard, Obstacle::OnlySoftware];
        assert!(!is_expected(false, &nothing_seen));
        assert!(is_expected(true, &[Obstacle::NoCard]));
        assert!(is_expected(false, &[Obstacle::NoLoader]));
        assert!(is_expected(
            false,
            &[Obstacle::NvidiaNotGiven, Obstacle::OnlySoftware]
        ));
    }

    #[test]
    fn a_failure_to_list_cards_is_a_reason_and_no_reason_is_nothing_missing() {
        let failure = DeviceError::Panicked("in a driver".to_owned()).into();
        let missing = |failure| missing(failure, &[], &[]);
        assert_eq!(missing(None), None);
        assert_eq!(
            missing(Some(&failure)),
            Some(Missing {
                is_expected: true,
                reasons: vec!["panic: in a driver".to_owned()],
            })
        );
    }

    #[test]
    fn adapters_at_one_pci_id_are_one_card() {
        let (one, other) = (Some("0000:03:00.0"), Some("0000:65:00.0"));
        assert_eq!(
            by_card(&[one, other, one, None, None]),
            [vec![0, 2], vec![1], vec![3], vec![4]]
        );
    }

    #[test]
    fn the_fastest_driver_of_a_card_serves() {
        let info = |name: &str, rate| DeviceInfo {
            name: name.to_owned(),
            backend: Backend::Gpu,
            kernel: "u64".to_owned(),
            threads: 1,
            trials: vec![Trial {
                kernel: "u64".to_owned(),
                hashes_per_second: rate,
            }],
        };
        let open = |name, rate| {
            Ok(Device {
                info: info(name, rate),
                engines: Vec::new(),
                reopen: None,
            })
        };
        let absent = |name| {
            Err(Box::new(Absent {
                info: info(name, 0),
                error: DeviceError::OutOfMemory,
                opener: Opener::new(|| Err(DeviceError::OutOfMemory)),
            }))
        };
        let name = |drivers| match fastest(drivers) {
            Some(Ok(device)) => device.info.name,
            Some(Err(absent)) => format!("no {}", absent.info.name),
            None => "none".to_owned(),
        };
        assert_eq!(name(vec![open("a", 1), open("b", 3), open("c", 2)]), "b");
        assert_eq!(name(vec![absent("a"), open("b", 1)]), "b");
        assert_eq!(name(vec![absent("a"), absent("b")]), "no a");
    }

    /// Lists nothing the first time and a software adapter from then on, as a driver that is late does.
    #[test]
    fn a_card_that_is_listed_later_is_found_once() {
        let lister = Lister::new("/bin/sh", ["-c", r#"echo '["a new card"]'; read x"#]);
        let mut finder = Finder::new(
            "llvmpipe".parse().unwrap(),
            SoftwareAdapters::Allowed,
            None,
            Some(lister),
        );
        let found = finder.open_new(Ok(Vec::new()));
        assert!(found.opened.missing.unwrap().is_expected);
        assert!(!found.may_appear, "the machine shows no sign of a card");
        let opened = finder.look_again().unwrap();
        assert_eq!((opened.devices.len(), opened.missing), (1, None));
        assert!(finder.known.contains(&opened.devices[0].info.name));
        // The child's next list has nothing more, but a name that this process does not see.
        assert!(finder.look_again().is_none());
    }

    #[test]
    fn a_crash_in_the_child_is_a_reason_and_the_cards_are_not_listed_here() {
        let lister = Lister::new("/bin/sh", ["-c", "kill -ABRT $$"]);
        let mut finder = Finder::new(
            Selection::default(),
            SoftwareAdapters::Allowed,
            None,
            Some(lister),
        );
        let found = finder.open();
        assert!(found.opened.devices.is_empty() && found.may_appear);
        assert!(found.reasons[0].contains("crashes"), "{:?}", found.reasons);
        assert!(finder.known.is_empty());
        assert!(finder.look_again().is_none(), "nothing has changed");
    }
}
