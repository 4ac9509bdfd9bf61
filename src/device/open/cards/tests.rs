//! How cards are found and chosen, without a driver.

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
        Some(MissingCards {
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
    let unopened = |name| {
        Err(Box::new(Unopened {
            info: info(name, 0),
            error: DeviceError::OutOfMemory,
            opener: Opener::new(|| Err(DeviceError::OutOfMemory)),
        }))
    };
    let name = |drivers| match fastest(drivers) {
        Some(Ok(device)) => device.info.name,
        Some(Err(unopened)) => format!("no {}", unopened.info.name),
        None => "none".to_owned(),
    };
    assert_eq!(name(vec![open("a", 1), open("b", 3), open("c", 2)]), "b");
    assert_eq!(name(vec![unopened("a"), open("b", 1)]), "b");
    assert_eq!(name(vec![unopened("a"), unopened("b")]), "no a");
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
    assert!(found.opened.missing_cards.unwrap().is_expected);
    assert!(!found.may_appear, "the machine shows no sign of a card");
    let opened = finder.look_again().unwrap();
    assert_eq!((opened.devices.len(), opened.missing_cards), (1, None));
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

#[test]
fn a_crash_is_forgotten_once_the_cards_are_listed() {
    let seen = std::env::temp_dir().join(format!("atto-work-crashed-{}", std::process::id()));
    let _ = std::fs::remove_file(&seen);
    let script = r#"if [ -e "$0" ]; then echo '[]'; read x; else : > "$0"; kill -ABRT $$; fi"#;
    let lister = Lister::new(
        "/bin/sh",
        ["-c".as_ref(), script.as_ref(), seen.as_os_str()],
    );
    let mut finder = Finder::new(
        "no such card".parse().unwrap(),
        SoftwareAdapters::Refused,
        None,
        Some(lister),
    );
    let missing = finder.open().opened.missing_cards.unwrap();
    assert!(missing.is_expected && missing.reasons[0].contains("crashes"));
    assert!(finder.has_failed);
    let missing = finder.look_again().unwrap().missing_cards.unwrap();
    assert!(missing.reasons[0].contains("no such card"), "{missing:?}");
    assert!(!finder.has_failed);
    // Only when the last child has ended is there another list, and from then on nothing changes.
    let is_quiet = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        finder.look_again().is_none()
    });
    assert!(is_quiet && !finder.has_failed);
    std::fs::remove_file(seen).unwrap();
}
