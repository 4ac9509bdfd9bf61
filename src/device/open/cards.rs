//! Opens the chosen cards, and finds out why others cannot be used.

use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use super::outcome::{MissingCards, OpenDevices};
use crate::device::error::DeviceError;
use crate::device::gpu::discovery::{Machine, Obstacle, Offered, diagnose};
use crate::device::gpu::{
    self, Adapter, AdapterInfo, AdapterKind, Selection, SelectionError, SoftwareAdapters,
};
use crate::device::opened::Device;

/// Opens the chosen cards, without a fallback, with this kernel or each with its fastest. A card that is not listed or
/// cannot be opened does not keep the others from serving: after a restart, a server with one broken card serves with the
/// rest.
///
/// Also returns the reasons why cards are not used, a line each. There is at least one if no card is used.
pub(super) fn open(
    selection: &Selection,
    software: SoftwareAdapters,
    kernel: Option<gpu::Kernel>,
) -> (OpenDevices, Vec<String>) {
    let (adapters, failure) = match list() {
        Ok(adapters) => (adapters, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let chosen = selection.choose(&adapters, software);
    let mut opened = OpenDevices::default();
    let mut failures = Vec::new();
    for (adapter, result) in chosen
        .adapters
        .iter()
        .zip(open_each(&chosen.adapters, kernel))
    {
        match result {
            Ok(device) => opened.devices.push(device),
            Err(error) => {
                failures.push(format!("{}: {error}", adapter.info().label));
                opened.unopened.push(gpu::unopened(adapter, kernel, error));
            }
        }
    }
    let infos: Vec<_> = adapters.iter().map(Adapter::info).collect();
    let is_served = !opened.devices.is_empty();
    let obstacles = obstacles(&infos, selection, is_served);
    opened.missing_cards = missing(failure.as_ref(), &chosen.unmatched, &obstacles);
    let missing = opened
        .missing_cards
        .iter()
        .flat_map(|missing| &missing.reasons);
    let reasons = missing.cloned().chain(failures).collect();
    (opened, reasons)
}

fn list() -> Result<Vec<Adapter>, DeviceError> {
    let started = Instant::now();
    let adapters = gpu::adapters();
    tracing::info!(
        adapters = adapters.as_ref().map_or(0, Vec::len),
        milliseconds = started.elapsed().as_secs_f64() * 1e3,
        "listed the Vulkan adapters"
    );
    adapters
}

/// Opens all adapters at once: a driver may take a second to compile for one.
fn open_each(
    adapters: &[&Adapter],
    kernel: Option<gpu::Kernel>,
) -> Vec<Result<Device, DeviceError>> {
    let panicked = |_| Err(DeviceError::Panicked("while it was opened".to_owned()));
    thread::scope(|scope| {
        let start = |&adapter: &_| scope.spawn(move || gpu::open(adapter, kernel));
        let threads: Vec<_> = adapters.iter().map(start).collect();
        let results = threads.into_iter().map(ScopedJoinHandle::join);
        results
            .map(|result| result.unwrap_or_else(panicked))
            .collect()
    })
}

/// Why Vulkan lists no card. Empty if it lists one: the reasons are then known from opening it.
fn obstacles(infos: &[&AdapterInfo], selection: &Selection, is_served: bool) -> Vec<Obstacle> {
    let is_software = |info: &&AdapterInfo| info.kind == AdapterKind::Software;
    if !infos.iter().all(is_software) {
        return Vec::new();
    }
    let offered: Offered = infos.iter().copied().collect();
    let mut obstacles = diagnose(&Machine::here(), &offered);
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
    failure: Option<&DeviceError>,
    unmatched: &[SelectionError],
    obstacles: &[Obstacle],
) -> Option<MissingCards> {
    let failure = failure.into_iter().map(ToString::to_string);
    let unmatched_reasons = unmatched.iter().map(ToString::to_string);
    let obstacle_reasons = obstacles.iter().map(ToString::to_string);
    let reasons: Vec<_> = failure
        .chain(unmatched_reasons)
        .chain(obstacle_reasons)
        .collect();
    (!reasons.is_empty()).then(|| MissingCards {
        is_expected: !unmatched.is_empty() || obstacles.iter().any(Obstacle::is_of_a_card),
        reasons,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_failure_to_list_adapters_is_a_reason_and_no_reason_is_nothing_missing() {
        let failure = DeviceError::Panicked("in a driver".to_owned());
        let missing = |failure| missing(failure, &[], &[]);
        assert_eq!(missing(None), None);
        assert_eq!(
            missing(Some(&failure)),
            Some(MissingCards {
                is_expected: false,
                reasons: vec!["panic: in a driver".to_owned()],
            })
        );
    }
}
