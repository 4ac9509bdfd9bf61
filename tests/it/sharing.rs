//! How searches are shared between cards and batches: with cards whose time is counted in slices. The service is
//! the real one, over real sockets, in this process.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::devices::{Clock, Service, card, honest_engine, limits};
use crate::support::http::{connect, get, post_works, works};
use crate::support::{assert_work, eventually, request, target};
use atto_work_server::device::{
    self, Device, DeviceError, NonceRange, Searched, Slice, StopFlag, search,
};
use atto_work_server::scheduler::Limits;
use atto_work_server::work::{Network, Nonce, Target, Threshold, Timestamp};

/// Asks for work that these cards never find, and returns the connection that waits for it.
fn endless(service: &Service, number: u64) -> TcpStream {
    let mut stream = connect(service.address);
    let request = request("LIVE", &target(number)).to_string();
    stream.write_all(works(&request).as_bytes()).unwrap();
    stream
}

/// The whole batch was tested, without luck.
fn nothing(batch: &[Slice]) -> Result<Vec<Searched>, DeviceError> {
    let nothing = |slice: &Slice| Searched {
        tried: slice.nonces.count,
        found: None,
    };
    Ok(batch.iter().map(nothing).collect())
}

/// What a card did: the tick, its number, the search and the nonces.
type Record = (u64, usize, Target, NonceRange);

/// Cards in step that find nothing and write down what they do.
fn recording(cards: usize) -> (Vec<Device>, Arc<Mutex<Vec<Record>>>, Arc<Clock>) {
    let records = Arc::new(Mutex::new(Vec::new()));
    let clock = Clock::new(cards);
    let devices = (0..cards).map(|number| {
        let (records, clock) = (Arc::clone(&records), Arc::clone(&clock));
        card(&format!("card {number}"), 1000, move |batch| {
            let tick = clock.tick();
            let record = |slice: &Slice| (tick, number, slice.target, slice.nonces);
            records.lock().unwrap().extend(batch.iter().map(record));
            nothing(batch)
        })
    });
    (devices.collect(), records, clock)
}

#[test]
fn no_two_cards_are_given_the_same_nonces() {
    let (devices, records, clock) = recording(3);
    let service = Service::start(devices, None);
    let _search = endless(&service, 1);
    eventually("100 ticks", || records.lock().unwrap().len() > 300);
    clock.stop();
    let records = records.lock().unwrap();
    let cards: BTreeSet<_> = records.iter().map(|&(_, card, ..)| card).collect();
    assert_eq!(cards.len(), 3);
    // Counted from well before the first, so that nothing wraps.
    let origin = records[0].3.start.wrapping_sub(1 << 60);
    let mut ranges: Vec<_> = records
        .iter()
        .map(|(.., nonces)| (nonces.start.wrapping_sub(origin), nonces.count))
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
    }
}

#[test]
fn as_many_hard_searches_as_cards_have_one_each() {
    let (devices, records, clock) = recording(3);
    let service = Service::start(devices, None);
    let _searches = [1, 2, 3].map(|number| endless(&service, number));
    let all_seen = || {
        let records = records.lock().unwrap();
        let targets: BTreeSet<_> = records.iter().map(|record| *record.2.as_bytes()).collect();
        (targets.len() == 3).then(|| records.last().unwrap().0)
    };
    let mut since = 0;
    eventually("all three are searched for", || {
        all_seen().is_some_and(|tick| {
            since = tick;
            true
        })
    });
    let now = || records.lock().unwrap().last().unwrap().0;
    eventually("100 ticks more", || now() > since + 100);
    clock.stop();
    // In the first ticks each card has slices left of what it began before the others came.
    let records = records.lock().unwrap();
    let settled = |&&(tick, ..): &&Record| (since + 10..since + 100).contains(&tick);
    let pairs: BTreeSet<_> = records
        .iter()
        .filter(settled)
        .map(|(_, card, target, _)| (*card, *target.as_bytes()))
        .collect();
    let targets: BTreeSet<_> = pairs.iter().map(|&(_, target)| target).collect();
    assert_eq!((pairs.len(), targets.len()), (3, 3), "{pairs:?}");
}

/// How many ticks a search takes that needs this many slices, on this many cards in step.
fn ticks(cards: usize, slices: u64) -> u64 {
    let request = request("LOCAL", &target(1));
    let nonce = answer(&request);
    let clock = Clock::new(cards);
    let (done, found_at) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let devices = (0..cards).map(|number| {
        let (clock, done, found_at) =
            (Arc::clone(&clock), Arc::clone(&done), Arc::clone(&found_at));
        card(&format!("card {number}"), 16, move |batch| {
            let tick = clock.tick();
            if done.fetch_add(1, Ordering::Relaxed) + 1 != slices {
                return nothing(batch);
            }
            found_at.store(tick, Ordering::Relaxed);
            clock.stop();
            Ok(vec![Searched {
                tried: 1,
                found: Some(nonce),
            }])
        })
    });
    let service = Service::start(devices.collect(), None);
    assert_work(&post_works(service.address, &request.to_string()), &request);
    found_at.load(Ordering::Relaxed)
}

/// Work for this LOCAL request.
fn answer(request: &serde_json::Value) -> Nonce {
    let timestamp = Timestamp::from_millis(request["timestamp"].as_i64().unwrap()).unwrap();
    let slice = Slice {
        target: request["target"].as_str().unwrap().parse().unwrap(),
        rule: Threshold::required(Network::Local, timestamp).into(),
        nonces: NonceRange {
            start: 0,
            count: 1 << 40,
        },
        stop: StopFlag::default(),
    };
    let searched = search(&mut *honest_engine(), slice).unwrap();
    searched.found.unwrap()
}

#[test]
fn n_cards_end_one_hard_search_n_times_sooner() {
    let slices = 240;
    for cards in [1, 2, 3, 4] {
        assert_eq!(ticks(cards, slices), slices / cards as u64, "{cards} cards");
    }
}

#[test]
fn searches_that_share_a_batch_get_their_own_answers() {
    let (release, released) = mpsc::channel::<()>();
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    let mut engine = honest_engine();
    let device = card("card", 1 << 20, move |batch| {
        // Until the test has asked for everything.
        let _ = released.recv();
        seen.fetch_max(batch.len(), Ordering::Relaxed);
        let search = |slice: &Slice| device::search(&mut *engine, slice.clone());
        batch.iter().map(search).collect()
    });
    // The card is no slower than the test, so it must not be passed over.
    let limits = Limits {
        patience: Duration::from_secs(3600),
        ..limits(4, 60)
    };
    let service = Service::with_limits(limits, vec![device], None);
    let address = service.address;
    let clients: Vec<_> = (0..40)
        .map(|number| {
            let request = request("LOCAL", &target(number));
            thread::spawn(move || {
                assert_work(&post_works(address, &request.to_string()), &request);
            })
        })
        .collect();
    let running = "atto_work_searches_running";
    eventually("all of them run", || {
        get(service.management, "/prometheus").metric(running) == 40.0
    });
    drop(release);
    for client in clients {
        client.join().unwrap();
    }
    // Two batches were in flight when the others came.
    let largest = largest.load(Ordering::Relaxed);
    assert!(largest >= 20, "{largest}");
}
