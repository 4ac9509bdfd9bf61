//! Devices that fail and come back, and those that do not: no search is lost meanwhile, and later attempts to reopen a
//! device wait longer. The service is the real one, over real sockets, in this process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::devices::{
    BACKOFF, PATIENCE, Service, card, fake, honest, honest_engine, limits, reopened_by,
};
use crate::support::http::{get, post_works};
use crate::support::{SOON, assert_work, eventually, request, target};
use atto_work_server::device::{
    self, Device, DeviceError, DeviceInfo, Lookout, MissingCards, OpenDevices, Opener, Searched,
    Slice, Unopened,
};
use atto_work_server::scheduler::{
    Backoff, ClientId, DeviceState, Event, Limits, Origin, Scheduler, SolveError,
};
use atto_work_server::telemetry::Metrics;
use atto_work_server::work::{Network, Nonce, Target, Timestamp, WorkRequest};
use serde_json::{Value, json};

/// Longer than any test: an attempt that is this far away is never made.
const NEVER: Duration = Duration::from_secs(3600);

/// The first attempt at once, and no second.
const ONE_ATTEMPT: Backoff = Backoff {
    first: NEVER,
    longest: NEVER,
    reset_after: NEVER,
};

/// Every fault is a first one.
const ALWAYS_AT_ONCE: Backoff = Backoff {
    reset_after: Duration::ZERO,
    ..ONE_ATTEMPT
};

fn with_backoff(backoff: Backoff) -> Limits {
    Limits {
        backoff,
        ..limits(4, 200)
    }
}

fn assert_served(service: &Service, number: u64) {
    let request = request("LOCAL", &target(number));
    assert_work(&post_works(service.address, &request.to_string()), &request);
}

fn metric(service: &Service, name: &str) -> f64 {
    get(service.management, "/prometheus").metric(name)
}

/// For what a device has from its first opening on.
fn metric_or_zero(service: &Service, name: &str) -> f64 {
    get(service.management, "/prometheus").metric_or_zero(name)
}

fn faults(service: &Service) -> f64 {
    metric_or_zero(service, "atto_work_device_faults_total{device=\"card\"}")
}

fn engines(service: &Service) -> f64 {
    let labels = "{backend=\"gpu\",device=\"card\",kernel=\"fake\"}";
    metric_or_zero(service, &format!("atto_work_device_engines{labels}"))
}

fn hashes(service: &Service, device: &str) -> f64 {
    metric_or_zero(
        service,
        &format!("atto_work_hashes_total{{device=\"{device}\"}}"),
    )
}

/// How many attempts to reopen the card went well, and how many did not.
fn rebuilds(service: &Service) -> (f64, f64) {
    let count = |outcome: &str| {
        let labels = format!("{{device=\"card\",outcome=\"{outcome}\"}}");
        metric_or_zero(service, &format!("atto_work_device_rebuilds_total{labels}"))
    };
    (count("ok"), count("failed"))
}

/// A card that computes what it is asked for.
fn good_card() -> Device {
    let mut engine = honest_engine();
    fake("card", move |slice| {
        device::search(&mut *engine, slice.clone())
    })
}

/// A card that fails its first search in this way.
fn bad_card(fault: Fault) -> Device {
    fake("card", fault)
}

type Fault = fn(&Slice) -> Result<Searched, DeviceError>;

fn lost(_: &Slice) -> Result<Searched, DeviceError> {
    Err(DeviceError::Lost("fell off the bus".to_owned()))
}

fn out_of_memory(_: &Slice) -> Result<Searched, DeviceError> {
    Err(DeviceError::OutOfMemory)
}

fn panics(_: &Slice) -> Result<Searched, DeviceError> {
    panic!("a driver's bug")
}

fn lies(slice: &Slice) -> Result<Searched, DeviceError> {
    // Not one nonce in forty thousand is valid on LOCAL, so the first of a slice is a lie.
    Ok(Searched {
        tried: 1,
        found: Some(Nonce::new(slice.nonces.start)),
    })
}

fn hangs(slice: &Slice) -> Result<Searched, DeviceError> {
    // Longer than the watchdog's patience; and when it returns, it has found nothing.
    thread::sleep(2 * PATIENCE);
    Ok(Searched {
        tried: slice.nonces.count,
        found: None,
    })
}

/// Opens a good card after this many attempts that fail.
fn good_after(failures: usize) -> impl Fn() -> Result<Device, DeviceError> + Send + Sync {
    let attempts = AtomicUsize::new(0);
    move || {
        if attempts.fetch_add(1, Ordering::Relaxed) < failures {
            Err(DeviceError::Driver("still resetting".to_owned()))
        } else {
            Ok(good_card())
        }
    }
}

/// Asks until something has happened, since the other device may be the first to be asked.
fn serve_until(service: &Service, what: &str, condition: impl Fn() -> bool) {
    let mut number = 0;
    eventually(what, || {
        number += 1;
        assert_served(service, number);
        condition()
    });
}

/// The only device fails and comes back at once: its search waits for it.
fn comes_back_alone(fault: Fault) {
    let device = reopened_by(bad_card(fault), good_after(0));
    let service = Service::with_limits(with_backoff(BACKOFF), vec![device], None);
    assert_served(&service, 1);
    assert_eq!((faults(&service), engines(&service)), (1.0, 1.0));
    assert_eq!(rebuilds(&service), (1.0, 0.0));
    for number in 2..10 {
        assert_served(&service, number);
    }
    assert_eq!(get(service.management, "/health").status, 200);
    assert_eq!(faults(&service), 1.0);
}

/// A device fails beside another, and comes back at the third attempt.
fn comes_back_late(fault: Fault) {
    let device = reopened_by(bad_card(fault), good_after(2));
    let service = Service::with_limits(with_backoff(BACKOFF), vec![device, honest()], None);
    serve_until(&service, "it has come back", || {
        rebuilds(&service) == (1.0, 2.0)
    });
    eventually("it is in service", || engines(&service) == 1.0);
    let before = hashes(&service, "card");
    serve_until(&service, "it has served", || {
        hashes(&service, "card") > before
    });
    assert_eq!(faults(&service), 1.0);
}

/// The only device fails and never comes back.
fn never_comes_back(fault: Fault) {
    let device = reopened_by(bad_card(fault), good_after(usize::MAX));
    let service = Service::with_limits(with_backoff(BACKOFF), vec![device], None);
    let request = request("LOCAL", &target(1));
    let answer = post_works(service.address, &request.to_string());
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (503, Some("NO_DEVICE"))
    );
    // It may have been asked before it knew itself to be started.
    eventually("it is down", || {
        get(service.management, "/health/liveness").json()["status"] == "DOWN"
    });
    eventually("it is tried again", || rebuilds(&service).1 >= 5.0);
    assert_eq!((rebuilds(&service).0, faults(&service)), (0.0, 1.0));
}

macro_rules! for_every_fault {
    ($($fault:ident),*) => {$(
        mod $fault {
            #[test]
            fn and_comes_back_at_once() {
                super::comes_back_alone(super::$fault);
            }

            #[test]
            fn and_comes_back_at_the_third_attempt() {
                super::comes_back_late(super::$fault);
            }

            #[test]
            fn and_never_comes_back() {
                super::never_comes_back(super::$fault);
            }
        }
    )*};
}

for_every_fault!(lost, out_of_memory, panics, lies, hangs);

#[test]
fn a_reopened_device_reports_its_measured_rate() {
    let device = reopened_by(bad_card(lost), good_after(0));
    let service = Service::start(vec![device], None);
    assert_served(&service, 1);
    let labels = "{device=\"card\",kernel=\"fake\"}";
    assert_eq!(
        metric(
            &service,
            &format!("atto_work_kernel_hashes_per_second{labels}")
        ),
        12_345.0
    );
    assert!(metric(&service, "atto_work_batches_total{device=\"card\"}") >= 1.0);
}

#[test]
fn searches_wait_for_the_first_attempt_and_are_refused_when_it_fails() {
    let (let_go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let device = reopened_by(bad_card(lost), move || {
        let _ = gone.lock().unwrap().recv();
        Err(DeviceError::Driver("still resetting".to_owned()))
    });
    // Its patience must not end while the test looks.
    let patient = Limits {
        patience: NEVER,
        ..with_backoff(ONE_ATTEMPT)
    };
    let service = Service::with_limits(patient, vec![device], None);
    let address = service.address;
    let clients: Vec<_> = (0..5)
        .map(|number| {
            let request = request("LOCAL", &target(number)).to_string();
            thread::spawn(move || post_works(address, &request))
        })
        .collect();
    eventually("all wait for the device", || {
        let waiting = metric(&service, "atto_work_queue_depth");
        faults(&service) == 1.0 && metric(&service, "atto_work_searches_running") + waiting == 5.0
    });
    eventually("it is ready for more", || {
        get(service.management, "/health/readiness").status == 200
    });
    let_go.send(()).unwrap();
    for client in clients {
        assert_eq!(client.join().unwrap().json()["code"], "NO_DEVICE");
    }
    assert_eq!(get(service.management, "/health/readiness").status, 503);
}

#[test]
fn searches_do_not_wait_for_an_attempt_that_does_not_end() {
    let (let_go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let device = reopened_by(bad_card(lost), move || {
        let _ = gone.lock().unwrap().recv();
        lost_at_opening()
    });
    let service = Service::start(vec![device], None);
    let request = request("LOCAL", &target(1));
    let answer = post_works(service.address, &request.to_string());
    assert_eq!(answer.json()["code"], "NO_DEVICE");
    // The service ends although the attempt does not.
    drop(service);
    drop(let_go);
}

fn lost_at_opening() -> Result<Device, DeviceError> {
    Err(DeviceError::Lost("fell off the bus".to_owned()))
}

#[test]
fn a_device_that_fails_again_at_once_is_reopened_later() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let device = reopened_by(bad_card(lost), move || {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(bad_card(lost))
    });
    let limits = with_backoff(ONE_ATTEMPT);
    let service = Service::with_limits(limits, vec![device, honest()], None);
    serve_until(&service, "it has failed twice", || faults(&service) == 2.0);
    for number in 1000..1050 {
        assert_served(&service, number);
    }
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    assert_eq!((faults(&service), engines(&service)), (2.0, 0.0));
}

#[test]
fn attempts_go_on_as_long_as_the_device_fails_again() {
    let device = reopened_by(bad_card(lost), || Ok(bad_card(lost)));
    let service = Service::with_limits(with_backoff(BACKOFF), vec![device, honest()], None);
    serve_until(&service, "it has failed ten times", || {
        faults(&service) >= 10.0
    });
}

#[test]
fn a_device_that_has_served_for_long_is_opened_at_once_again() {
    let device = reopened_by(bad_card(lost), || Ok(bad_card(lost)));
    let limits = with_backoff(ALWAYS_AT_ONCE);
    let service = Service::with_limits(limits, vec![device, honest()], None);
    serve_until(&service, "it has failed ten times", || {
        faults(&service) >= 10.0
    });
}

#[test]
fn the_fallback_stands_by_while_the_device_is_back_and_takes_over_again() {
    let is_well = Arc::new(AtomicBool::new(false));
    fn moody(is_well: &Arc<AtomicBool>) -> Device {
        let is_well = Arc::clone(is_well);
        let mut engine = honest_engine();
        fake("card", move |slice| {
            if is_well.load(Ordering::Relaxed) {
                device::search(&mut *engine, slice.clone())
            } else {
                lost(slice)
            }
        })
    }
    let mood = Arc::clone(&is_well);
    let device = reopened_by(moody(&is_well), move || {
        if mood.load(Ordering::Relaxed) {
            Ok(moody(&mood))
        } else {
            lost_at_opening()
        }
    });
    let limits = with_backoff(BACKOFF);
    let service = Service::with_limits(limits, vec![device], Some(|| Ok(honest())));
    for round in 0..3_u8 {
        let before = hashes(&service, "cpu");
        assert_served(&service, 1);
        assert_served(&service, 2);
        assert_eq!(faults(&service), f64::from(round) + 1.0);
        assert!(hashes(&service, "cpu") > before, "the fallback serves");

        is_well.store(true, Ordering::Relaxed);
        eventually("the card is back", || engines(&service) == 1.0);
        // Whatever slice the processor was at has ended by then.
        assert_served(&service, 3);
        let before = (hashes(&service, "card"), hashes(&service, "cpu"));
        for number in 10..30 {
            assert_served(&service, number);
        }
        assert!(hashes(&service, "card") > before.0, "the card serves");
        assert_eq!(
            hashes(&service, "cpu"),
            before.1,
            "and the fallback does not"
        );
        is_well.store(false, Ordering::Relaxed);
    }
    assert_eq!(faults(&service), 3.0);
}

/// A card that could not be opened at the start, and can be after this many more failures.
fn unopened_card(failures: usize) -> Unopened {
    Unopened {
        info: DeviceInfo {
            kernel: "none".to_owned(),
            ..good_card().info
        },
        error: DeviceError::Lost("resetting".to_owned()),
        opener: Opener::new(good_after(failures)),
    }
}

#[test]
fn a_card_that_cannot_be_opened_at_the_start_comes_later() {
    let opened = OpenDevices {
        devices: vec![honest()],
        unopened: vec![unopened_card(2)],
        ..OpenDevices::default()
    };
    let service = Service::with_opened(limits(4, 200), opened);
    serve_until(&service, "the card is in service", || {
        engines(&service) == 1.0
    });
    eventually("the attempts are counted", || {
        rebuilds(&service) == (1.0, 2.0)
    });
    serve_until(&service, "the card has worked", || {
        hashes(&service, "card") > 0.0
    });
    assert_eq!(faults(&service), 0.0);
}

/// Why a card is missing that should be there.
fn missing_card() -> MissingCards {
    MissingCards {
        is_expected: true,
        reasons: vec!["the driver crashes".to_owned()],
    }
}

#[test]
fn a_missing_card_that_is_found_serves_and_the_fallback_stands_by() {
    let mut looks = 0;
    let lookout = Lookout::new(move || {
        looks += 1;
        assert_eq!(looks, 1, "no card is missing any more");
        Some(OpenDevices {
            devices: vec![good_card()],
            ..OpenDevices::default()
        })
    });
    let opened = OpenDevices {
        fallback: Some(Opener::new(|| Ok(honest()))),
        missing_cards: Some(missing_card()),
        lookout: Some(lookout),
        ..OpenDevices::default()
    };
    let service = Service::with_opened(limits(4, 200), opened);
    assert_served(&service, 1);
    assert_eq!(states(&service), [("cpu".to_owned(), "up".to_owned())]);
    serve_until(&service, "the card is in service", || {
        engines(&service) == 1.0
    });
    let both = [("cpu", "standby"), ("card", "up")];
    let both = both.map(|(name, state)| (name.to_owned(), state.to_owned()));
    assert_eq!(states(&service), both);
    let page = get(service.management, "/status.json").json();
    assert_eq!(page["missing_cards"], Value::Null);
}

#[test]
fn a_service_without_any_device_waits_for_one_and_says_so() {
    let (found, finds) = mpsc::channel();
    let lookout = Lookout::new(move || finds.recv().ok());
    let opened = OpenDevices {
        missing_cards: Some(missing_card()),
        lookout: Some(lookout),
        ..OpenDevices::default()
    };
    let service = Service::with_opened(limits(4, 200), opened);
    let probe = |path: &str| get(service.management, path).status;
    eventually("the reason is told", || {
        let page = get(service.management, "/status.json").json();
        page["missing_cards"]["reasons"][0] == "the driver crashes"
    });
    assert_eq!(probe("/health/readiness"), 503);
    assert_eq!(probe("/health/liveness"), 200);
    found
        .send(OpenDevices {
            devices: vec![good_card()],
            ..OpenDevices::default()
        })
        .unwrap();
    eventually("it is ready", || probe("/health/readiness") == 200);
    assert_served(&service, 1);
}

/// Each device with its state.
fn states(service: &Service) -> Vec<(String, String)> {
    let page = get(service.management, "/status.json").json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let devices = page["devices"].as_array().unwrap().iter();
    devices
        .map(|device| (text(&device["name"]), text(&device["state"])))
        .collect()
}

#[test]
fn the_fallback_serves_from_the_start_until_a_card_can_be_opened() {
    let (let_go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let card = Unopened {
        opener: Opener::new(move || {
            let _ = gone.lock().unwrap().recv();
            Ok(good_card())
        }),
        ..unopened_card(0)
    };
    let opened = OpenDevices {
        devices: Vec::new(),
        unopened: vec![card],
        fallback: Some(Opener::new(|| Ok(honest()))),
        ..OpenDevices::default()
    };
    let service = Service::with_opened(limits(4, 200), opened);
    assert_served(&service, 1);
    assert_eq!(get(service.management, "/health/readiness").status, 200);
    let_go.send(()).unwrap();
    eventually("the card is in service", || engines(&service) == 1.0);
    // A batch of before may still be on its way back.
    let mut by_processor = hashes(&service, "cpu");
    eventually("the processor has come back from all it had", || {
        thread::sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut by_processor, hashes(&service, "cpu"));
        before == by_processor
    });
    for number in 2..20 {
        assert_served(&service, number);
    }
    assert_eq!(hashes(&service, "cpu"), by_processor);
}

#[test]
fn nothing_is_lost_while_a_card_dies_and_comes_back() {
    fn mortal() -> Device {
        let mut engine = honest_engine();
        let mut batches = 0;
        card("card", 1 << 20, move |batch| {
            batches += 1;
            if batches > 2 {
                return Err(DeviceError::Lost("fell off the bus".to_owned()));
            }
            let search = |slice: &Slice| device::search(&mut *engine, slice.clone());
            batch.iter().map(search).collect()
        })
    }
    let device = reopened_by(mortal(), || Ok(mortal()));
    let limits = with_backoff(ALWAYS_AT_ONCE);
    let service = Service::with_limits(limits, vec![device], None);
    let address = service.address;
    let clients: Vec<_> = (0..50)
        .map(|client| {
            thread::spawn(move || {
                for number in 0..10 {
                    let request = request("LOCAL", &target(100 * client + number));
                    assert_work(&post_works(address, &request.to_string()), &request);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    // A card answers two batches of 64 searches at most before it dies.
    assert!(faults(&service) >= 3.0);
    eventually("it has come back each time", || {
        rebuilds(&service) == (faults(&service), 0.0)
    });
    let answered = "atto_work_requests_total{network=\"LOCAL\",outcome=\"ok\"}";
    assert_eq!(metric(&service, answered), 500.0);
}

#[test]
fn an_engine_that_comes_back_when_its_device_was_replaced_leaves_quietly() {
    let (release, released) = mpsc::channel::<()>();
    let (left, has_left) = mpsc::channel::<()>();
    let mut engine = honest_engine();
    let hangs = fake("card", move |slice| {
        // Gone with the engine.
        let _left = &left;
        let _ = released.recv();
        device::search(&mut *engine, slice.clone())
    });
    let device = reopened_by(hangs, good_after(0));
    let service = Service::with_limits(with_backoff(BACKOFF), vec![device], None);
    assert_served(&service, 1);
    assert_eq!((faults(&service), engines(&service)), (1.0, 1.0));
    drop(release);
    let left = has_left.recv_timeout(SOON);
    assert_eq!(left, Err(RecvTimeoutError::Disconnected), "it has left");
    assert_served(&service, 2);
    assert_eq!((faults(&service), engines(&service)), (1.0, 1.0));
}

#[test]
fn the_scheduler_stops_while_a_device_is_waited_for() {
    let device = reopened_by(bad_card(lost), lost_at_opening);
    let scheduler = Scheduler::start(with_backoff(ONE_ATTEMPT), Metrics::new()).unwrap();
    let opened = OpenDevices {
        devices: vec![device],
        ..OpenDevices::default()
    };
    scheduler.put_to_work(opened).unwrap();
    let time = Timestamp::now();
    let request = WorkRequest::new(Network::Local, time, Target::new([0; 32]), time).unwrap();
    let refused = pollster::block_on(scheduler.solve(request));
    assert_eq!(refused.unwrap_err(), SolveError::NoDevice);
    // A thread that sleeps on would be waited for.
    let stopping = thread::spawn(move || scheduler.stop(NEVER));
    eventually("it has stopped", || stopping.is_finished());
}

#[test]
fn a_search_and_the_scheduler_report_a_failed_device() {
    let device = reopened_by(bad_card(lost), lost_at_opening);
    let scheduler = Scheduler::start(with_backoff(ONE_ATTEMPT), Metrics::new()).unwrap();
    scheduler
        .put_to_work(OpenDevices {
            devices: vec![device],
            fallback: Some(Opener::new(|| Ok(honest()))),
            ..OpenDevices::default()
        })
        .unwrap();
    let time = Timestamp::now();
    let request = WorkRequest::new(Network::Local, time, Target::new([0; 32]), time).unwrap();
    let mut search = scheduler.search(request, ClientId::Any, None).unwrap();
    pollster::block_on(search.answer()).unwrap();

    let progress = search.progress();
    assert_eq!(progress.origin, Origin::Own);
    assert!(progress.hashes > 0 && progress.batches > 0, "{progress:?}");
    assert_eq!(progress.found_by.unwrap().name, "cpu");
    let failovers: Vec<_> = progress.failovers.iter().collect();
    assert_eq!(failovers.len(), 1, "{failovers:?}");
    assert_eq!(failovers[0].device.name, "card");
    assert!(failovers[0].error.contains("fell off the bus"));

    eventually("the attempt to open it has failed", || {
        scheduler.incidents().len() == 3
    });
    let states: Vec<_> = scheduler
        .devices()
        .into_iter()
        .map(|device| (device.info.name.clone(), device.state, device.faults))
        .collect();
    let expected = [
        ("card".to_owned(), DeviceState::Down, 1),
        ("cpu".to_owned(), DeviceState::Up, 0),
    ];
    assert_eq!(states, expected);
    let incidents = scheduler.incidents();
    let about_the_card = incidents
        .iter()
        .filter(|incident| incident.device == "card");
    let events: Vec<_> = about_the_card.map(|incident| &incident.event).collect();
    assert!(
        matches!(events[..], [Event::Fault(_), Event::NotOpened(_)]),
        "{events:?}"
    );
    let fallback = incidents
        .iter()
        .find(|incident| incident.event == Event::FallenBackTo);
    assert_eq!(fallback.unwrap().device, "cpu");
}

fn device_row(service: &Service, name: &str) -> Value {
    let status = get(service.management, "/status.json").json();
    let devices = status["devices"].as_array().expect("a list");
    let row = devices.iter().find(|device| device["name"] == name);
    row.expect("it is known").clone()
}

fn incidents(service: &Service) -> Vec<Value> {
    let status = get(service.management, "/status.json").json();
    status["incidents"].as_array().expect("a list").clone()
}

#[test]
fn a_long_outage_shows_when_and_why_it_began() {
    let device = reopened_by(bad_card(lost), lost_at_opening);
    let backoff = Backoff {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(1),
        reset_after: NEVER,
    };
    let service = Service::with_limits(with_backoff(backoff), vec![device, honest()], None);
    serve_until(&service, "the card is down", || {
        device_row(&service, "card")["state"] == "down"
    });
    let since = device_row(&service, "card")["since"].clone();
    assert!(since.is_u64(), "{since}");
    // More than incidents are kept.
    eventually("it could not be opened 200 times", || {
        rebuilds(&service).1 >= 200.0
    });
    let row = device_row(&service, "card");
    assert_eq!(row["since"], since);
    let error = row["last_error"].as_str().expect("a reason");
    assert!(error.contains("fell off the bus"), "{error}");
    // An attempt is counted a moment before it is an incident.
    eventually("each time is told", || {
        let incidents = incidents(&service);
        assert_eq!(incidents.len(), 2, "{incidents:?}");
        assert_eq!(incidents[0]["what"], "fault");
        assert_eq!(incidents[1]["what"], "not_opened");
        incidents[1]["times"].as_u64() >= Some(200)
    });
}

#[test]
fn a_card_that_hangs_is_unresponsive_until_it_is_reopened() {
    let (release, released) = mpsc::channel::<()>();
    let hangs = fake("card", move |_| {
        let _ = released.recv();
        Err(DeviceError::OutOfMemory)
    });
    let can_be_opened = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&can_be_opened);
    let device = reopened_by(hangs, move || {
        if may.load(Ordering::Relaxed) {
            Ok(good_card())
        } else {
            Err(DeviceError::Hung(PATIENCE))
        }
    });
    let service = Service::with_limits(with_backoff(BACKOFF), vec![device, honest()], None);
    serve_until(&service, "the card is passed over", || {
        faults(&service) == 1.0
    });
    assert_eq!(device_row(&service, "card")["state"], "unresponsive");
    let state = "atto_work_device_state{device=\"card\",state=\"unresponsive\"}";
    assert_eq!(metric(&service, state), 1.0);
    // What has come back at last is no use any more.
    drop(release);
    eventually("the card is down", || {
        device_row(&service, "card")["state"] == "down"
    });
    can_be_opened.store(true, Ordering::Relaxed);
    eventually("the card is back", || {
        device_row(&service, "card")["state"] == "up"
    });
    assert_eq!(device_row(&service, "card")["since"], Value::Null);
}

#[test]
fn a_device_that_returns_from_a_hang_is_reported() {
    let (release, released) = mpsc::channel::<()>();
    let mut engine = honest_engine();
    let hangs = fake("card", move |slice| {
        let _ = released.recv();
        device::search(&mut *engine, slice.clone())
    });
    let service = Service::with_limits(with_backoff(BACKOFF), vec![hangs, honest()], None);
    serve_until(&service, "the card is passed over", || {
        faults(&service) == 1.0
    });
    assert!(device_row(&service, "card")["since"].is_u64());
    drop(release);
    eventually("the card is back", || engines(&service) == 1.0);
    let incidents = incidents(&service);
    let what: Vec<_> = incidents.iter().map(|incident| &incident["what"]).collect();
    assert_eq!(what, ["fault", "back"]);
    assert_eq!(device_row(&service, "card")["since"], Value::Null);
}

#[test]
fn a_fault_of_one_engine_is_no_outage_of_its_device() {
    let mut first = bad_card(lost);
    first.engines.extend(good_card().engines);
    let service = Service::with_limits(with_backoff(BACKOFF), vec![first], None);
    serve_until(&service, "one engine is lost", || faults(&service) == 1.0);
    let row = device_row(&service, "card");
    assert_eq!(
        (&row["state"], &row["engines"], &row["since"]),
        (&json!("up"), &json!(1), &Value::Null)
    );
    let error = row["last_error"].as_str().expect("a reason");
    assert!(error.contains("fell off the bus"), "{error}");
}

#[test]
fn a_card_that_cannot_be_opened_at_the_start_is_reported_with_its_reason() {
    let opened = OpenDevices {
        devices: vec![honest()],
        unopened: vec![unopened_card(usize::MAX)],
        ..OpenDevices::default()
    };
    let service = Service::with_opened(with_backoff(ONE_ATTEMPT), opened);
    assert_served(&service, 1);
    let row = device_row(&service, "card");
    assert_eq!(row["state"], "down");
    assert!(row["since"].is_u64());
    assert_eq!(row["last_error"], "device lost: resetting");
    let incidents = incidents(&service);
    assert_eq!(incidents[0]["what"], "not_opened");
    assert_eq!(incidents[0]["text"], "device lost: resetting");
}
