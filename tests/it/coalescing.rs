//! Requests for the same work: overlapping ones share a search, and later ones get the cached answer. The service is the
//! real one, over real sockets, in this process, with devices that record what they do.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::devices::{Service, fake, honest_engine, limits, never_live, unlucky};
use crate::support::http::{connect, get, post_works, read, works};
use crate::support::{assert_work, eventually, request, target};
use atto_work_server::device::{self, Device};
use atto_work_server::scheduler::{AnswerCache, Limits};
use serde_json::{Value, json};

const RUNNING: &str = "atto_work_searches_running";
const COALESCED: &str = "atto_work_coalesced_total";
const REMEMBERED: &str = "atto_work_remembered_total";

/// How many slices there were of each search, by its target's last byte and its bound.
type Seen = Arc<Mutex<BTreeMap<(u8, u64), usize>>>;

/// A device that finds nothing until the sender is used or dropped, and then searches honestly. It counts its slices.
fn recording() -> (mpsc::Sender<()>, Seen, Device) {
    let (release, released) = mpsc::channel();
    let seen = Seen::default();
    let counts = Arc::clone(&seen);
    let mut engine = honest_engine();
    let mut waiting = true;
    let device = fake("recording", move |slice| {
        let search = (slice.target.as_bytes()[31], slice.rule.bound());
        *counts.lock().unwrap().entry(search).or_default() += 1;
        waiting = waiting && matches!(released.try_recv(), Err(mpsc::TryRecvError::Empty));
        if waiting {
            return unlucky(slice);
        }
        device::search(&mut *engine, slice.clone())
    });
    (release, seen, device)
}

fn ask(service: &Service, request: &Value) -> TcpStream {
    let mut stream = connect(service.address);
    stream
        .write_all(works(&request.to_string()).as_bytes())
        .unwrap();
    stream
}

fn metric(service: &Service, name: &str) -> f64 {
    get(service.management, "/prometheus").metric(name)
}

/// A request for LOCAL work for a block of this year.
fn local_of(year: i64, number: u64) -> Value {
    let timestamp = 1_704_067_200_000 + (year - 2024) * 31_622_400_000;
    json!({ "network": "LOCAL", "timestamp": timestamp, "target": target(number) })
}

#[test]
fn ten_requests_for_the_same_work_are_one_search() {
    let (release, seen, device) = recording();
    let service = Service::start(vec![device], None);
    let request = request("LOCAL", &target(1));
    let clients: Vec<_> = (0..10).map(|_| ask(&service, &request)).collect();
    eventually("nine have joined the first", || {
        metric(&service, COALESCED) == 9.0
    });
    assert_eq!(metric(&service, RUNNING), 1.0);
    drop(release);
    let answers: Vec<_> = clients.iter().map(|client| read(client, false)).collect();
    for answer in &answers {
        assert_work(answer, &request);
        assert_eq!(answer.body, answers[0].body);
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
    let answered = "atto_work_requests_total{network=\"LOCAL\",outcome=\"ok\"}";
    assert_eq!(metric(&service, answered), 10.0);
    assert_eq!(metric(&service, REMEMBERED), 0.0);
}

#[test]
fn those_who_join_are_bounded_too() {
    let (release, _seen, device) = recording();
    // Two slots and one search that waits, so three requests may join.
    let service = Service::with_limits(limits(2, 1), vec![device], None);
    let request = request("LOCAL", &target(1));
    let mut clients: Vec<_> = (0..4).map(|_| ask(&service, &request)).collect();
    eventually("three have joined the first", || {
        metric(&service, COALESCED) == 3.0
    });
    let refused = post_works(service.address, &request.to_string());
    assert_eq!(refused.json()["code"], "QUEUE_FULL");
    assert!(refused.header("retry-after").is_some());
    // A client that disconnects makes room. One of two has joined, since only one was the first.
    clients.truncate(2);
    let (mut joined, mut attempts) = (None, 1.0);
    eventually("another joins", || {
        let client = ask(&service, &request);
        let has_joined = || metric(&service, COALESCED) == 4.0;
        eventually("it has joined or is refused", || {
            let refused = "atto_work_requests_total{network=\"LOCAL\",outcome=\"queue_full\"}";
            has_joined() || metric(&service, refused) > attempts
        });
        attempts += 1.0;
        joined = Some(client);
        has_joined()
    });
    clients.extend(joined);
    drop(release);
    for client in &clients {
        assert_work(&read(client, false), &request);
    }
}

#[test]
fn a_shared_search_is_cancelled_when_the_last_client_disconnects() {
    let (_release, seen, device) = recording();
    let service = Service::start(vec![device], None);
    let request = request("LOCAL", &target(1));
    let first = ask(&service, &request);
    eventually("it is searched for", || metric(&service, RUNNING) == 1.0);
    let others = [(); 2].map(|()| ask(&service, &request));
    eventually("two have joined", || metric(&service, COALESCED) == 2.0);

    let cancelled = "atto_work_requests_total{network=\"LOCAL\",outcome=\"cancelled\"}";
    drop(first);
    eventually("the first has left", || metric(&service, cancelled) == 1.0);
    let slices = || seen.lock().unwrap().values().sum::<usize>();
    let before = slices();
    eventually("the search goes on", || slices() > before + 10);
    assert_eq!(metric(&service, RUNNING), 1.0);

    drop(others);
    eventually("nothing is searched for", || {
        metric(&service, RUNNING) == 0.0
    });
    assert_eq!(metric(&service, cancelled), 3.0);
    // The device has stopped: the slice in progress is its last.
    eventually("the last slice has ended", || {
        let before = slices();
        thread::sleep(Duration::from_millis(50));
        slices() == before
    });
}

#[test]
fn remaining_clients_are_answered_after_the_first_disconnects() {
    let (release, _, device) = recording();
    let service = Service::start(vec![device], None);
    let request = request("LOCAL", &target(1));
    let first = ask(&service, &request);
    eventually("it is searched for", || metric(&service, RUNNING) == 1.0);
    let second = ask(&service, &request);
    eventually("one has joined", || metric(&service, COALESCED) == 1.0);
    drop(first);
    let cancelled = "atto_work_requests_total{network=\"LOCAL\",outcome=\"cancelled\"}";
    eventually("the first has left", || metric(&service, cancelled) == 1.0);
    drop(release);
    assert_work(&read(&second, false), &request);
}

#[test]
fn a_request_that_is_a_little_easier_joins_and_a_harder_one_does_not() {
    let (release, seen, device) = recording();
    let service = Service::start(vec![device], None);
    // LOCAL is twice as hard in 2026 as in 2025.
    let (harder, easier) = (local_of(2026, 1), local_of(2025, 1));
    let first = ask(&service, &harder);
    eventually("it is searched for", || metric(&service, RUNNING) == 1.0);
    let second = ask(&service, &easier);
    eventually("the easier one has joined", || {
        metric(&service, COALESCED) == 1.0
    });

    let easier_first = local_of(2025, 2);
    let harder_then = local_of(2026, 2);
    let third = ask(&service, &easier_first);
    eventually("another is searched for", || {
        metric(&service, RUNNING) == 2.0
    });
    let fourth = ask(&service, &harder_then);
    eventually("the harder one has its own", || {
        metric(&service, RUNNING) == 3.0
    });
    assert_eq!(metric(&service, COALESCED), 1.0);
    drop(release);
    for (client, request) in [
        (first, &harder),
        (second, &easier),
        (third, &easier_first),
        (fourth, &harder_then),
    ] {
        assert_work(&read(&client, false), request);
    }
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[test]
fn an_easy_request_does_not_join_a_far_harder_search_of_the_same_target() {
    let service = Service::start(vec![never_live()], None);
    let live = ask(&service, &request("LIVE", &target(1)));
    eventually("it is searched for", || metric(&service, RUNNING) == 1.0);
    let local = request("LOCAL", &target(1));
    assert_work(&post_works(service.address, &local.to_string()), &local);
    assert_eq!(metric(&service, COALESCED), 0.0);
    drop(live);
}

/// Limits with this cache of answers.
fn remembering(entries: usize, lasts: Duration) -> Limits {
    Limits {
        answers: AnswerCache { entries, lasts },
        ..limits(4, 16)
    }
}

/// How many different slices a device that answers at once has had after these requests, one after the other.
fn slices_after(limits: Limits, requests: &[Value], pause: Duration) -> (usize, f64) {
    let (release, seen, device) = recording();
    drop(release);
    let service = Service::with_limits(limits, vec![device], None);
    for request in requests {
        assert_work(&post_works(service.address, &request.to_string()), request);
        thread::sleep(pause);
    }
    let remembered = metric(&service, REMEMBERED);
    let slices = seen.lock().unwrap().values().sum();
    (slices, remembered)
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_repeated_request_gets_the_cached_answer_without_a_search() {
    let (release, seen, device) = recording();
    drop(release);
    let service = Service::with_limits(remembering(16, LONG), vec![device], None);
    let request = request("LOCAL", &target(1));
    let first = post_works(service.address, &request.to_string());
    assert_work(&first, &request);
    let searched = seen.lock().unwrap().clone();
    for _ in 0..5 {
        let again = post_works(service.address, &request.to_string());
        assert_eq!((again.status, again.body), (200, first.body.clone()));
    }
    assert_eq!(*seen.lock().unwrap(), searched);
    assert_eq!(metric(&service, REMEMBERED), 5.0);
    let answered = "atto_work_requests_total{network=\"LOCAL\",outcome=\"ok\"}";
    assert_eq!(metric(&service, answered), 6.0);
}

#[test]
fn a_client_that_disconnected_gets_the_cached_answer_when_it_returns() {
    let (release, seen, device) = recording();
    let service = Service::with_limits(remembering(16, LONG), vec![device], None);
    let request = request("LOCAL", &target(1));
    let lost = ask(&service, &request);
    eventually("it is searched for", || metric(&service, RUNNING) == 1.0);
    drop(release);
    // Its answer is written into the connection, which is then lost.
    let answered = "atto_work_requests_total{network=\"LOCAL\",outcome=\"ok\"}";
    eventually("it is answered", || metric(&service, answered) == 1.0);
    drop(lost);
    let slices = seen.lock().unwrap().clone();
    assert_work(&post_works(service.address, &request.to_string()), &request);
    assert_eq!(*seen.lock().unwrap(), slices);
}

#[test]
fn an_old_answer_is_searched_for_again() {
    let requests = [request("LOCAL", &target(1)), request("LOCAL", &target(1))];
    let limits = remembering(16, Duration::from_millis(1));
    let (slices, remembered) = slices_after(limits, &requests, Duration::from_millis(5));
    assert!(slices >= 2, "{slices}");
    assert_eq!(remembered, 0.0);
}

#[test]
fn the_memory_is_bounded() {
    let ask = |number| request("LOCAL", &target(number));
    // The third answer evicts the first.
    let requests = [ask(1), ask(2), ask(3), ask(2), ask(1)];
    let (_, remembered) = slices_after(remembering(2, LONG), &requests, Duration::ZERO);
    assert_eq!(remembered, 1.0);
}

#[test]
fn a_memory_of_no_entries_is_off() {
    let requests = [request("LOCAL", &target(1)), request("LOCAL", &target(1))];
    let (slices, remembered) = slices_after(remembering(0, LONG), &requests, Duration::ZERO);
    assert!(slices >= 2, "{slices}");
    assert_eq!(remembered, 0.0);
}

#[test]
fn a_cached_answer_serves_no_harder_request() {
    let (release, seen, device) = recording();
    drop(release);
    let service = Service::with_limits(remembering(16, LONG), vec![device], None);
    let local = request("LOCAL", &target(1));
    assert_work(&post_works(service.address, &local.to_string()), &local);
    // An answer for LOCAL is one for LIVE once in 100 000 times.
    let live = ask(&service, &request("LIVE", &target(1)));
    eventually("it is searched for", || seen.lock().unwrap().len() == 2);
    assert_eq!(metric(&service, REMEMBERED), 0.0);
    drop(live);
}

#[test]
fn a_cached_answer_needs_no_device() {
    // It answers once, and is lost then.
    let mut engine = honest_engine();
    let mut answered = false;
    let device = fake("mortal", move |slice| {
        if answered {
            return Err(device::DeviceError::Lost("gone".to_owned()));
        }
        let searched = device::search(&mut *engine, slice.clone())?;
        answered = searched.found.is_some();
        Ok(searched)
    });
    let service = Service::with_limits(remembering(16, LONG), vec![device], None);
    let first = request("LOCAL", &target(1));
    let post = |request: &Value| post_works(service.address, &request.to_string());
    assert_work(&post(&first), &first);
    let refused = post(&request("LOCAL", &target(2)));
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(refused.json()["code"], "NO_DEVICE");
    assert_work(&post(&first), &first);
}
