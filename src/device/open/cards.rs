//! Opens the chosen cards, and finds out why others cannot be used.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::child::{ListError, Lister};
use super::outcome::{MissingCards, OpenDevices};
use crate::device::gpu::discovery::{Nonconformant, Obstacle, Reasons};
use crate::device::gpu::{
    Adapter, AdapterInfo, AdapterKind, Kernel, Listing, Opening, Selection, SelectionError,
    SoftwareAdapters,
};
use crate::device::opened::{Device, Unopened};
use crate::milliseconds::milliseconds;

/// How long listing the cards may take, and finding out why there are not more.
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
    /// A search for reasons that has not ended yet.
    reasons: Option<Reasons>,
    /// The labels of the adapters that this process has listed.
    known: BTreeSet<String>,
    /// Why cards were missing the last time.
    missing: Option<MissingCards>,
    /// Whether they could not be listed then.
    has_failed: bool,
}

/// The result of opening the chosen cards.
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
            reasons: None,
            known: BTreeSet::new(),
            missing: None,
            has_failed: false,
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
            // If the last look failed, this is news.
            Ok(Some(child))
                if !self.has_failed
                    && child.labels.iter().all(|label| self.known.contains(label)) =>
            {
                return None;
            }
            Ok(_child) => self.list(),
            Err(error) => Err(error),
        };
        let Found {
            opened, reasons, ..
        } = self.open_new(listed);
        let has_news = opened.missing_cards != before;
        if has_news {
            log(&reasons, true);
        }
        let has_cards = !opened.devices.is_empty() || !opened.unopened.is_empty();
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
                    milliseconds = milliseconds(started.elapsed()),
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
            None => Listing::begin().map_err(|error| {
                ListError::NoAnswer(format!("cannot start a thread to list the cards: {error}"))
            })?,
        };
        let Some(adapters) = listing.wait(LIST_LIMIT) else {
            self.listing = Some(listing);
            return Err(ListError::Hung(LIST_LIMIT));
        };
        tracing::info!(
            adapters = adapters.as_ref().map_or(0, Vec::len),
            milliseconds = milliseconds(started.elapsed()),
            "listed the Vulkan adapters"
        );
        Ok(adapters?)
    }

    /// Opens those of the chosen adapters that are new.
    fn open_new(&mut self, listed: Result<Vec<Adapter>, ListError>) -> Found {
        let (adapters, mut failure) = match listed {
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
                Err(unopened) => {
                    failures.push(format!("{}: {}", unopened.info.name, unopened.error));
                    found.opened.unopened.push(*unopened);
                }
            }
        }
        let infos: Vec<_> = adapters.iter().map(|one| one.info().clone()).collect();
        let is_served = chosen.adapters.len() > found.opened.unopened.len();
        let unmatched = match failure {
            Some(_) => Vec::new(),
            None => chosen.unmatched,
        };
        // Without a list nothing is known of cards that were listed before.
        let obstacles = if failure.is_some() && !self.known.is_empty() {
            Vec::new()
        } else {
            match self.obstacles(&infos, failure.is_none(), is_served) {
                Ok(obstacles) => obstacles,
                Err(error) => {
                    failure.get_or_insert(error);
                    Vec::new()
                }
            }
        };
        self.has_failed = failure.is_some();
        found.may_appear = failure.is_some()
            || !found.opened.unopened.is_empty()
            || obstacles.iter().any(Obstacle::is_of_a_card);
        found.opened.missing_cards = missing(failure.as_ref(), &unmatched, &obstacles);
        let missing = found.opened.missing_cards.iter();
        let reasons = missing.flat_map(|missing| missing.reasons.iter().cloned());
        found.reasons = reasons.chain(failures).collect();
        self.missing.clone_from(&found.opened.missing_cards);
        let labels = infos.into_iter().map(|info| info.label);
        self.known.extend(labels);
        found
    }

    /// Why Vulkan lists no card. Empty if it lists one: the reasons are then known from opening it.
    fn obstacles(
        &mut self,
        infos: &[AdapterInfo],
        is_listed: bool,
        is_served: bool,
    ) -> Result<Vec<Obstacle>, ListError> {
        let is_software = |info: &AdapterInfo| info.kind == AdapterKind::Software;
        if !infos.iter().all(is_software) {
            return Ok(Vec::new());
        }
        let nonconformant = if is_listed {
            Nonconformant::SoughtIfSilent
        } else {
            Nonconformant::NotSought
        };
        let begin = || Reasons::begin(infos.to_vec(), nonconformant);
        // A search that has not ended is waited for again: each further one could only leave another thread behind.
        let reasons = self.reasons.take().map_or_else(begin, Ok);
        let reasons = reasons.map_err(|error| {
            ListError::NoAnswer(format!(
                "cannot start a thread to find out why no card is listed: {error}"
            ))
        })?;
        let Some(mut obstacles) = reasons.wait(LIST_LIMIT) else {
            self.reasons = Some(reasons);
            return Err(ListError::Unexplained(LIST_LIMIT));
        };
        if is_served {
            // A software adapter serves. An operator who named it wants no card; otherwise it stands in for one.
            let is_named = self.selection != Selection::default();
            obstacles.retain(|obstacle| obstacle.is_of_a_card() && !is_named);
        }
        Ok(obstacles)
    }
}

/// Opens adapters, all at once: a driver may take a second to compile for one. If two drivers offer the same card, they
/// open it one after the other, so that they do not disturb each other's measurements, and the faster serves.
fn open_each(adapters: &[&Adapter], kernel: Option<Kernel>) -> Vec<Result<Device, Box<Unopened>>> {
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
fn fastest(drivers: Vec<Result<Device, Box<Unopened>>>) -> Option<Result<Device, Box<Unopened>>> {
    let several = drivers.len() > 1;
    let (open, unopened): (Vec<_>, Vec<_>) = drivers.into_iter().partition(Result::is_ok);
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
    best.map(Ok).or(unopened.into_iter().next())
}

/// Logs each reason why a card is not used, as a warning only if a card is expected.
pub(super) fn log(reasons: &[String], is_expected: bool) {
    for reason in reasons {
        if is_expected {
            tracing::warn!(reason, "a graphics card cannot be used");
        } else {
            tracing::info!(reason, "no graphics card is used");
        }
    }
}

/// Why cards are missing: Vulkan cannot list them, no adapter matches the operator's names, or the machine has
/// obstacles.
fn missing(
    failure: Option<&ListError>,
    unmatched: &[SelectionError],
    obstacles: &[Obstacle],
) -> Option<MissingCards> {
    let failure_reason = failure.into_iter().map(ToString::to_string);
    let unmatched_reasons = unmatched.iter().map(ToString::to_string);
    let obstacle_reasons = obstacles.iter().map(ToString::to_string);
    let reasons: Vec<_> = failure_reason
        .chain(unmatched_reasons)
        .chain(obstacle_reasons)
        .collect();
    (!reasons.is_empty()).then(|| MissingCards {
        is_expected: failure.is_some()
            || !unmatched.is_empty()
            || obstacles.iter().any(Obstacle::is_of_a_card),
        reasons,
    })
}
