//! Everything at once: cards that die, hang, lie, panic, run out of memory and come back only to fail again, and clients that
//! ask, disconnect in the middle and send garbage. The service is the real one, over real sockets, in this process.
//!
//! A client that stays gets one answer: correct work or a proper error response. In the end no search, thread or descriptor
//! is left.
//!
//! `ATTO_WORK_TEST_CHAOS_SECONDS` makes it last longer than 10 s, and `ATTO_WORK_TEST_CHAOS_SEED` repeats the choices of a
//! run whose seed was printed, though not the order in which threads make them.

#![cfg(test)]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs, panic};

use atto_work_server::device::{self, Device, DeviceError, Searched, Slice};
use atto_work_server::scheduler::Limits;
use atto_work_server::work::Nonce;
use fastrand::Rng;
use serde_json::json;
use support::devices::{Service, card, fake, honest, honest_engine, limits, reopened_by};
use support::http::{Response, connect, get, post_works, read_next, works};
use support::{SOON, eventually, target};

/// How long an engine may hang in this test; slices take some milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// More than may run and wait, so that some are refused.
const CLIENTS: u64 = 28;

const CARDS: [&str; 4] = ["card 0", "card 1", "card 2", "core"];

/// A panic with this text is one of the test's own.
const BUG: &str = "a driver's bug";

/// LOCAL's threshold in 2024, (2^33 − 1) · 10^5, and in 2026, half of that: (first Unix millisecond of the year, threshold).
const YEARS: [(i64, u64); 2] = [
    (1_704_067_200_000, 858_993_459_100_000),
    (1_767_225_600_000, 429_496_729_550_000),
];

/// How often each thing has happened.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    fn add(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

/// Decides when a card fails, and how.
struct Storm {
    over: AtomicBool,
    rng: Mutex<Rng>,
    /// The faults that come next. Dealt like cards, so that none is missing for long.
    deck: Mutex<Vec<&'static str>>,
    happened: Counts,
}

/// The ways in which a batch can go wrong.
const FAULTS: [&str; 7] = [
    "lost",
    "out of memory",
    "panic",
    "lie",
    "missing answer",
    "hang",
    "silence",
];

impl Storm {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            over: AtomicBool::new(false),
            rng: Mutex::new(Rng::with_seed(seed)),
            deck: Mutex::default(),
            happened: Counts::default(),
        })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// What goes wrong now, if anything does.
    fn strikes(&self) -> Option<&'static str> {
        let mut rng = self.rng.lock().unwrap();
        // A card answers ten batches on average before it fails.
        if self.is_over() || rng.u8(..10) > 0 {
            return None;
        }
        let mut deck = self.deck.lock().unwrap();
        if deck.is_empty() {
            deck.extend(FAULTS);
            rng.shuffle(&mut deck);
        }
        let fault = deck.pop()?;
        self.happened.add(fault);
        Some(fault)
    }

    /// Whether everything that can go wrong has done so.
    fn has_seen_all(&self) -> bool {
        FAULTS.iter().all(|fault| self.happened.of(fault) > 0)
    }

    /// Hangs for a random time, mostly longer than the watchdog's patience, and at most until the storm is over.
    fn hang(&self) {
        let time = PATIENCE.mul_f64(4.0 * self.rng.lock().unwrap().f64());
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A card that is reopened by the same means, unless that fails too.
    fn card(self: &Arc<Self>, name: &'static str) -> Device {
        let storm = Arc::clone(self);
        reopened_by(self.open(name), move || {
            let fate = storm.rng.lock().unwrap().u8(..8);
            match fate {
                _ if storm.is_over() => {}
                0 => storm.hang(),
                1 => return Err(DeviceError::Driver("still resetting".to_owned())),
                2 => {
                    storm.happened.add("panic at opening");
                    panic!("{BUG} at opening");
                }
                _ => {}
            }
            Ok(storm.open(name))
        })
    }

    fn open(self: &Arc<Self>, name: &'static str) -> Device {
        let storm = Arc::clone(self);
        let mut engine = honest_engine();
        let mut complete = move |batch: &[Slice]| {
            let mut answers = Vec::new();
            for slice in batch {
                answers.push(device::search(&mut *engine, slice.clone())?);
            }
            match storm.strikes() {
                Some("lost") => return Err(DeviceError::Lost("fell off the bus".to_owned())),
                Some("out of memory") => return Err(DeviceError::OutOfMemory),
                Some("panic") => panic!("{BUG}"),
                // One answer of the batch is wrong, the others are right.
                Some("lie") => {
                    let start = batch[0].nonces.start;
                    answers[0].found = Some(Nonce::new(start.wrapping_sub(1)));
                }
                Some("missing answer") => drop(answers.pop()),
                Some("hang") => storm.hang(),
                Some("silence") => answers.iter_mut().for_each(|answer| answer.found = None),
                _ => {}
            }
            Ok(answers)
        };
        if name == "core" {
            let one = move |slice: &Slice| -> Result<Searched, DeviceError> {
                let answers = complete(std::slice::from_ref(slice))?;
                let missing = || DeviceError::Driver("no answer".to_owned());
                answers.first().copied().ok_or_else(missing)
            };
            fake(name, one)
        } else {
            card(name, 1 << 16, complete)
        }
    }
}

/// One client: what it does next, and what has become of it so far.
struct Client<'a> {
    address: SocketAddr,
    rng: Rng,
    number: u64,
    asked: &'a Counts,
}

/// A request that is right in every way, and the threshold of its work.
struct Question {
    target: String,
    threshold: u64,
    body: String,
}

impl Client<'_> {
    fn question(&mut self, network: &str) -> Question {
        self.number += 1;
        let target = target(self.number);
        let (timestamp, threshold) = YEARS[self.rng.usize(..YEARS.len())];
        let body = json!({ "network": network, "timestamp": timestamp, "target": target });
        Question {
            body: body.to_string(),
            target,
            threshold,
        }
    }

    fn act(&mut self) {
        match self.rng.u8(..10) {
            0 => self.leaves(),
            1 => self.breaks_off(),
            2 => self.is_wrong(),
            _ => self.asks(),
        }
    }

    /// Asks on one connection, one after the other or all at once, and stays for every answer.
    fn asks(&mut self) {
        let stream = connect(self.address);
        let mut reader = BufReader::new(&stream);
        let count = self.rng.usize(1..4);
        let questions: Vec<_> = (0..count).map(|_| self.question("LOCAL")).collect();
        let at_once = self.rng.bool();
        if at_once {
            let all: String = questions.iter().map(|asked| works(&asked.body)).collect();
            (&stream).write_all(all.as_bytes()).unwrap();
        }
        for asked in &questions {
            if !at_once {
                (&stream).write_all(works(&asked.body).as_bytes()).unwrap();
            }
            self.judge(&read_next(&mut reader, false), asked);
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "", "an answer too many");
    }

    /// It is work, or an error response that says when to retry.
    fn judge(&self, answer: &Response, asked: &Question) {
        if answer.status == 200 {
            let body = answer.json();
            let work = body["work"].as_str().expect("a work");
            assert_eq!(body, json!({ "work": work }));
            assert!(digest(work, &asked.target) <= asked.threshold, "{body}");
            self.asked.add("work");
            return;
        }
        let code = assert_problem(answer, 503);
        let retry = answer.header("retry-after").expect("when to ask again");
        assert!(retry.parse::<u32>().is_ok(), "{retry}");
        match code.as_str() {
            "QUEUE_FULL" => self.asked.add("queue full"),
            "NO_DEVICE" => self.asked.add("no device"),
            _ => panic!("{answer:?}"),
        }
        // Sooner than `Retry-After` says, but not at once: the cards need most of the processor.
        thread::sleep(Duration::from_millis(20));
    }

    /// Asks for work, easy or hard, and disconnects before there is an answer.
    fn leaves(&mut self) {
        let network = if self.rng.bool() { "LIVE" } else { "LOCAL" };
        let asked = self.question(network);
        let mut stream = connect(self.address);
        stream.write_all(works(&asked.body).as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(self.rng.u64(..40)));
        self.asked.add("left");
    }

    /// Sends some of a request.
    fn breaks_off(&mut self) {
        let request = works(&self.question("LOCAL").body);
        let sent = self.rng.usize(..request.len());
        let mut stream = connect(self.address);
        stream.write_all(&request.as_bytes()[..sent]).unwrap();
        self.asked.add("broke off");
    }

    fn is_wrong(&mut self) {
        let right = self.question("LOCAL");
        let too_large = " ".repeat(16 * 1024);
        let json = "content-type: application/json";
        let (request, status, code) = match self.rng.u8(..7) {
            0 => (works("{"), 400, "MALFORMED_JSON"),
            1 => (works("{}"), 400, "INVALID_FIELDS"),
            2 => (
                works(&right.body.replace("LOCAL", "MOON")),
                400,
                "INVALID_FIELDS",
            ),
            3 => (works(&(right.body + &too_large)), 413, "BODY_TOO_LARGE"),
            4 => (
                works(&right.body).replace(json, "content-type: text/plain"),
                415,
                "UNSUPPORTED_MEDIA_TYPE",
            ),
            5 => (
                "GET /works HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(),
                405,
                "METHOD_NOT_ALLOWED",
            ),
            _ => (
                "GET /nothing HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(),
                404,
                "NOT_FOUND",
            ),
        };
        let mut stream = connect(self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_next(&mut BufReader::new(&stream), false);
        assert_eq!(assert_problem(&answer, status), code);
        // A request for something else is none for work, and no metric of those counts it.
        let is_for_work = ![404, 405].contains(&status);
        self.asked.add(if is_for_work { "wrong" } else { "astray" });
    }
}

/// Fails unless the answer is a problem document with this status. Its code.
fn assert_problem(answer: &Response, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    let media_type = answer.header("content-type");
    assert_eq!(media_type, Some("application/problem+json"), "{answer:?}");
    let body = answer.json();
    assert_eq!(body["status"], status, "{body}");
    body["code"].as_str().expect("a code").to_owned()
}

/// The digest, by a library that the server does not use.
fn digest(work: &str, target: &str) -> u64 {
    let bytes = [work, target].map(|text| hex::decode(text).expect("hex"));
    assert_eq!(bytes.each_ref().map(Vec::len), [8, 32]);
    let hash = blake2b_simd::Params::new()
        .hash_length(8)
        .hash(&bytes.concat());
    u64::from_le_bytes(hash.as_bytes().try_into().expect("eight bytes"))
}

/// The sum of a metric over all labels that have this text.
fn total(service: &Service, name: &str, label: &str) -> f64 {
    let metrics = get(service.management, "/prometheus").body;
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// How many threads and descriptors this process has.
fn belongings() -> (usize, usize) {
    let count = |folder| fs::read_dir(folder).expect("Linux").count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|error| panic!("{variable}: {error}")),
    )
}

/// Lets everything happen for `time`, and then looks at what is left.
fn survives(seed: u64, time: Duration, fallback: Option<fn() -> Result<Device, DeviceError>>) {
    let before = belongings();
    let (storm, asked) = (Storm::new(seed), Counts::default());
    let limits = Limits {
        patience: PATIENCE,
        ..limits(4, 16)
    };
    let devices = CARDS.map(|name| storm.card(name)).into();
    let service = Service::with_limits(limits, devices, fallback);
    let until = Instant::now() + time;
    // On a slow machine for longer, until all of it has happened.
    let goes_on = || {
        let now = Instant::now();
        now < until || (!storm.has_seen_all() && now < until + SOON)
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut client = Client {
                address: service.address,
                rng: Rng::with_seed(seed ^ (client + 1)),
                number: client << 32,
                asked: &asked,
            };
            let goes_on = &goes_on;
            scope.spawn(move || {
                while goes_on() {
                    client.act();
                }
            });
        }
    });
    storm.over.store(true, Ordering::Relaxed);
    let happened = storm.happened.0.lock().unwrap().clone();
    println!(
        "devices: {happened:?}\nclients: {:?}",
        asked.0.lock().unwrap()
    );

    // All of it did happen.
    for fault in FAULTS {
        assert!(storm.happened.of(fault) > 0, "there was no {fault}");
    }
    for outcome in ["work", "queue full", "left", "broke off", "wrong"] {
        assert!(asked.of(outcome) > 0, "there was no {outcome}");
    }
    assert!(total(&service, "atto_work_device_faults_total", "") > 0.0);
    assert!(total(&service, "atto_work_device_rebuilds_total", "\"ok\"") > 0.0);
    // Clients that disconnected may have been answered too.
    let ended = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        total(&service, "atto_work_requests_total", &label)
    };
    assert!(ended("ok") >= asked.of("work") as f64);
    assert!(ended("queue_full") >= asked.of("queue full") as f64);
    assert!(ended("no_device") >= asked.of("no device") as f64);
    assert!(ended("invalid") >= asked.of("wrong") as f64);

    eventually("every card is back", || {
        let up = |card: &str| total(&service, "atto_work_device_engines", &format!("\"{card}\""));
        CARDS.iter().all(|card| up(card) == 1.0)
    });
    let gauge = |name: &str| total(&service, name, "");
    eventually("no search is left", || {
        gauge("atto_work_searches_running") + gauge("atto_work_queue_depth") == 0.0
    });
    eventually("nobody searches", || {
        let hashes = gauge("atto_work_hashes_total");
        thread::sleep(Duration::from_millis(200));
        gauge("atto_work_hashes_total") == hashes
    });
    let mut last = Client {
        address: service.address,
        rng: Rng::with_seed(seed),
        number: CLIENTS << 32,
        asked: &asked,
    };
    let (question, works) = (last.question("LOCAL"), asked.of("work"));
    last.judge(&post_works(service.address, &question.body), &question);
    assert_eq!(asked.of("work"), works + 1, "all is well again");

    drop(service);
    // The watchdog's thread ends by itself; the slack is for what the test harness opens meanwhile.
    eventually("threads and descriptors are given back", || {
        let after = belongings();
        after.0 <= before.0 + 2 && after.1 <= before.1 + 2
    });
}

#[test]
fn every_client_that_stays_gets_exactly_one_correct_answer() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let own = panic
            .payload_as_str()
            .is_some_and(|text| text.starts_with(BUG));
        if !own {
            report(panic);
        }
    }));
    let seed = number("ATTO_WORK_TEST_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = number("ATTO_WORK_TEST_CHAOS_SECONDS").unwrap_or(10);
    println!("ATTO_WORK_TEST_CHAOS_SEED={seed}");
    let half = Duration::from_secs(seconds) / 2;
    survives(seed, half, None);
    survives(!seed, half, Some(|| Ok(honest())));
}
