//! Devices that die, hang and lie, behind the same trait as the real ones: every request is still answered
//! correctly or refused properly. The service is the real one, over real sockets, in this process.

use std::sync::mpsc::{self, TryRecvError};
use std::thread;

use crate::support::devices::{PATIENCE, Service, card, fake, honest, honest_engine, unlucky};
use crate::support::http::{get, post_works};
use crate::support::{assert_work, eventually, request, target};
use atto_work_server::device::{self, Device, DeviceError, Searched, Slice};
use atto_work_server::work::Nonce;

fn assert_served(service: &Service, number: u64) {
    let request = request("LOCAL", &target(number));
    assert_work(&post_works(service.address, &request.to_string()), &request);
}

fn faults(service: &Service, device: &str) -> f64 {
    get(service.management, "/prometheus").metric(&format!(
        "atto_work_device_faults_total{{device=\"{device}\"}}"
    ))
}

fn engines(service: &Service, device: &str) -> f64 {
    let labels = format!("{{backend=\"gpu\",device=\"{device}\",kernel=\"fake\"}}");
    let page = get(service.management, "/prometheus");
    page.metric_or_zero(&format!("atto_work_device_engines{labels}"))
}

/// Asks for work, and gets it, until the device has had its first fault: it may not be the first to be asked.
fn serve_until_fault(service: &Service, device: &str) {
    let mut number = 0;
    eventually("the device is out of service", || {
        number += 1;
        assert_served(service, number);
        faults(service, device) == 1.0
    });
}

/// The device must lose its search to the honest one beside it, and never be asked again.
fn is_replaced(
    name: &'static str,
    search: impl FnMut(&Slice) -> Result<Searched, DeviceError> + Send + 'static,
) {
    let service = Service::start(vec![fake(name, search), honest()], None);
    serve_until_fault(&service, name);
    assert_eq!(engines(&service, name), 0.0);
    for number in 100..110 {
        assert_served(&service, number);
    }
    assert_eq!(faults(&service, name), 1.0);
    assert_eq!(get(service.management, "/health/readiness").status, 200);
}

#[test]
fn a_device_that_fails_is_replaced() {
    is_replaced("lost", |_| {
        Err(DeviceError::Lost("fell off the bus".to_owned()))
    });
}

#[test]
fn a_device_that_panics_is_replaced() {
    is_replaced("panics", |_| panic!("a driver's bug"));
}

#[test]
fn a_device_that_answers_wrongly_is_replaced_and_its_answer_is_never_sent() {
    is_replaced("lies", |slice| {
        // Not one nonce in forty thousand is valid on LOCAL, so the first of a slice is a lie.
        Ok(Searched {
            tried: 1,
            found: Some(Nonce::new(slice.nonces.start)),
        })
    });
}

#[test]
fn a_device_that_hangs_loses_its_searches_to_others() {
    let (release, released) = mpsc::channel::<()>();
    let mut engine = honest_engine();
    let hangs = fake("hangs", move |slice| {
        // Until the test lets go; after that it is as good as any.
        let _ = released.recv();
        device::search(&mut *engine, slice.clone())
    });
    let service = Service::start(vec![hangs, honest()], None);
    serve_until_fault(&service, "hangs");
    assert_eq!(engines(&service, "hangs"), 0.0);
    for number in 100..110 {
        assert_served(&service, number);
    }
    drop(release);
    eventually("it has proven itself and serves again", || {
        engines(&service, "hangs") == 1.0
    });
}

#[test]
fn a_card_that_hangs_with_batches_in_flight_loses_all_of_them_and_serves_again() {
    let (release, released) = mpsc::channel::<()>();
    let mut engine = honest_engine();
    let hangs = card("hangs", 1 << 10, move |batch| {
        let _ = released.recv();
        let search = |slice: &Slice| device::search(&mut *engine, slice.clone());
        batch.iter().map(search).collect()
    });
    let service = Service::start(vec![hangs, honest()], None);
    let address = service.address;
    // Slices of a thousand nonces leave enough of each search for both of its batches.
    let clients: Vec<_> = (0..10)
        .map(|number| {
            let request = request("LOCAL", &target(number));
            thread::spawn(move || {
                assert_work(&post_works(address, &request.to_string()), &request);
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    serve_until_fault(&service, "hangs");
    assert_eq!(engines(&service, "hangs"), 0.0);
    drop(release);
    eventually("it has proven itself and serves again", || {
        engines(&service, "hangs") == 1.0
    });
    assert_eq!(faults(&service, "hangs"), 1.0);
    assert_served(&service, 1000);
}

#[test]
fn a_device_that_fails_its_self_test_after_a_hang_is_retired() {
    let (release, released) = mpsc::channel::<()>();
    let hangs = fake("hangs", move |_| {
        let _ = released.recv();
        // Finds nothing, not even what the self-test knows to be there.
        Ok(Searched {
            tried: 0,
            found: None,
        })
    });
    let service = Service::start(vec![hangs, honest()], None);
    serve_until_fault(&service, "hangs");
    drop(release);
    eventually("it has failed again", || faults(&service, "hangs") == 2.0);
    assert_eq!(engines(&service, "hangs"), 0.0);
    assert_served(&service, 1000);
}

#[test]
fn the_last_device_to_fail_hands_its_search_to_the_fallback() {
    let mut slices = 0;
    let dies = fake("dies", move |slice| {
        slices += 1;
        if slices > 3 {
            Err(DeviceError::Lost("gone".to_owned()))
        } else {
            unlucky(slice)
        }
    });
    let service = Service::start(vec![dies], Some(|| Ok(honest())));
    assert_served(&service, 1);
    assert_eq!(faults(&service, "dies"), 1.0);
    assert!(
        get(service.management, "/prometheus").metric("atto_work_hashes_total{device=\"cpu\"}")
            > 0.0
    );
    assert_served(&service, 2);
    assert_eq!(get(service.management, "/health").status, 200);
}

type OpenFallback = fn() -> Result<Device, DeviceError>;

/// The device finds nothing until there are eight searches, and then does what `fails` does. Searches that run, that wait
/// and that come later must all be refused.
fn is_refused(
    fallback: Option<OpenFallback>,
    mut fails: impl FnMut() -> Result<Searched, DeviceError> + Send + 'static,
) {
    let (release, released) = mpsc::channel::<()>();
    let mut waiting = true;
    let device = fake("dies", move |slice| {
        waiting = waiting && matches!(released.try_recv(), Err(TryRecvError::Empty));
        if waiting { unlucky(slice) } else { fails() }
    });
    let service = Service::start(vec![device], fallback);
    let address = service.address;
    let clients: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                post_works(address, &request("LIVE", &target(number)).to_string())
            })
        })
        .collect();
    let metric = |name: &str| get(service.management, "/prometheus").metric(name);
    eventually("four run and four wait", || {
        metric("atto_work_searches_running") == 4.0 && metric("atto_work_queue_depth") == 4.0
    });
    release.send(()).unwrap();
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (503, Some("NO_DEVICE")),
            "{answer:?}"
        );
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(
        post_works(address, &request("LOCAL", &target(9)).to_string()).json()["code"],
        "NO_DEVICE"
    );
    for (path, status) in [
        ("/health", "DOWN"),
        ("/health/liveness", "DOWN"),
        ("/health/readiness", "OUT_OF_SERVICE"),
    ] {
        let answer = get(service.management, path);
        assert_eq!(
            (answer.status, answer.json()["status"].as_str()),
            (503, Some(status)),
            "{path}"
        );
    }
}

fn lost() -> Result<Searched, DeviceError> {
    Err(DeviceError::Lost("gone".to_owned()))
}

#[test]
fn without_any_device_left_every_search_is_refused() {
    is_refused(None, lost);
}

#[test]
fn a_fallback_that_cannot_be_opened_is_no_device_either() {
    is_refused(
        Some(|| Err(DeviceError::Driver("there is none".to_owned()))),
        lost,
    );
}

#[test]
fn a_fallback_that_panics_is_no_device_either() {
    is_refused(Some(|| panic!("a bug in opening it")), lost);
}

#[test]
fn when_the_last_device_hangs_every_search_is_refused() {
    is_refused(None, || {
        // Longer than the server waits, but not endless, so that the test can end.
        thread::sleep(2 * PATIENCE);
        lost()
    });
}

#[test]
fn when_the_last_device_hangs_the_fallback_takes_over() {
    let (release, released) = mpsc::channel::<()>();
    let hangs = fake("hangs", move |_| {
        let _ = released.recv();
        lost()
    });
    let service = Service::start(vec![hangs], Some(|| Ok(honest())));
    assert_served(&service, 1);
    assert_eq!(faults(&service, "hangs"), 1.0);
    assert_eq!(get(service.management, "/health/readiness").status, 200);
    drop(release);
}
