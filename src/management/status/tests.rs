use std::sync::Arc;

use super::*;
use crate::device::DeviceInfo;
use crate::scheduler::Outage;

#[test]
fn an_outage_shows_the_error_that_began_it() {
    let info = DeviceInfo {
        name: "card".to_owned(),
        backend: Backend::Gpu,
        kernel: "u64".to_owned(),
        threads: 1,
        trials: Vec::new(),
    };
    let mut status = DeviceStatus {
        info: Arc::new(info),
        state: DeviceState::Down,
        engines: 0,
        hash_rate: 0.0,
        hashes: 0,
        faults: 0,
        outage: Some(Outage {
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(3),
            error: "lost".into(),
        }),
        last_error: Some("still does not answer".into()),
    };
    let down = DeviceRow::new(&status, 0.0);
    assert_eq!(down.since, Some(3000));
    assert_eq!(down.last_error.as_deref(), Some("lost"));
    (status.state, status.outage) = (DeviceState::Up, None);
    let back = DeviceRow::new(&status, 0.0);
    assert_eq!(back.since, None);
    assert_eq!(back.last_error.as_deref(), Some("still does not answer"));
}

#[test]
fn the_temperature_of_the_queue_follows_its_searches() {
    let temperature = |running, waiting| {
        let status = scheduler::Status {
            running,
            waiting,
            capacity: 2,
            can_serve: true,
            hash_rate: 0.0,
            expected_wait: None,
        };
        Temperature::of(&status, 4)
    };
    assert_eq!(temperature(0, 0), Temperature::Idle);
    assert_eq!(temperature(4, 0), Temperature::Warm);
    assert_eq!(temperature(4, 1), Temperature::Hot);
    assert_eq!(temperature(4, 2), Temperature::Full);
    // Easy searches run without a slot, but count.
    assert_eq!(temperature(6, 0), Temperature::Full);
}

#[test]
fn long_errors_are_cut_between_characters() {
    let text = "é".repeat(LONGEST_TEXT);
    assert_eq!(shortened(&text), text);
    assert_eq!(shortened(&format!("{text}é")), format!("{text}…"));
}

#[test]
fn searches_are_expected_to_take_what_the_protocol_says() {
    let now = Timestamp::from_millis(1_795_329_945_748).unwrap();
    let expected = expected(1e8, now, Some(Difficulty::NANO_RECEIVE));
    assert_eq!(expected[0].network, "LIVE");
    assert_eq!(expected[0].threshold.as_deref(), Some("4294967295"));
    assert!((expected[0].mean_seconds - 42.949_672_96).abs() < 1e-6);
    assert!((expected[0].p99_seconds - 197.79).abs() < 0.01);
    let nano = &expected[4];
    assert_eq!((nano.network, &nano.threshold), ("NANO", &None));
    assert_eq!(nano.difficulty.as_deref(), Some("fffffe0000000000"));
    assert!((nano.mean_seconds - 0.083_886_08).abs() < 1e-9);
    assert_eq!(super::expected(1e8, now, None).len(), 4);
    assert!(super::expected(0.0, now, None).is_empty());
}
