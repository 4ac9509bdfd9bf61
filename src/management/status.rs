//! `GET /status.json`, the data of the status page. The types here are its manual.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use warp::Reply;
use warp::reply::Response;

use super::guard::guarded;
use crate::access::Keys;
use crate::build_info;
use crate::device::{Backend, MissingCards};
use crate::lifecycle::Phase;
use crate::scheduler::{self, DeviceState, DeviceStatus, Event, Incident, Scheduler};
use crate::telemetry::{History, Sample, Snapshot};
use crate::work::{AnyNetwork, Difficulty, Rule, Timestamp};

/// How often the history takes a sample.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How many incidents are shown: the latest.
const INCIDENTS: usize = 32;

/// How many characters of an error are shown.
const LONGEST_TEXT: usize = 300;

/// The p99 of a search as a multiple of its mean: `ln 100`, since its time is distributed exponentially.
const P99: f64 = 4.605_170_185_988_092;

/// What is shown besides the state of the scheduler.
#[derive(Clone, Debug)]
pub struct About {
    /// The last ten minutes.
    pub history: History,
    /// The configuration, without secrets.
    pub configuration: Vec<Setting>,
    /// The API keys, if a request needs one. Only their number is shown.
    pub keys: Option<Keys>,
    /// How many slots there are for hard searches.
    pub slots: usize,
    /// The base difficulty of Nano's work, if Nano is served.
    pub nano: Option<Difficulty>,
}

/// A setting of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The environment variable's name.
    pub variable: String,
    /// The value as it was given, else the default; `None` if there is neither.
    pub value: Option<String>,
    /// Whether neither a flag nor the variable gave it. A value that was given counts even if it is the default.
    pub is_default: bool,
}

/// The body. Times are Unix milliseconds by the server's clock.
#[derive(Debug, Serialize)]
struct Status<'a> {
    /// When this was made.
    at: u64,
    server: Server,
    /// Every device that serves, has served or should serve.
    devices: Vec<DeviceRow>,
    /// Why other cards are not used; `None` if there is nothing to report.
    missing_cards: Option<MissingCards>,
    queue: Queue,
    /// How long a search takes if it has all devices to itself: of Atto's networks, the hardest first, then of Nano if it
    /// is served. Empty while no hash rate is known.
    expected: Vec<Expected>,
    history: Snapshot,
    /// The latest incidents of devices, the latest last.
    incidents: Vec<IncidentRow>,
    configuration: &'a [Setting],
    /// How many API keys there are; `None` if requests need none.
    api_keys: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Server {
    version: &'static str,
    /// The commit of the build, 40 hex digits, or `unknown`.
    commit: &'static str,
    /// The features of the build, separated by commas.
    features: &'static str,
    /// The name of the machine or the container.
    host: String,
    /// Seconds since the process started.
    uptime_seconds: f64,
    /// `starting`, `serving`, `leaving` (not ready any more, but serving as before) or `draining`.
    phase: &'static str,
    /// Whether a device serves, or is about to.
    can_serve: bool,
    /// Whether the machine's clock is set, so that timestamps can be checked.
    clock_is_set: bool,
}

#[derive(Debug, Serialize)]
struct DeviceRow {
    name: String,
    backend: Backend,
    kernel: String,
    state: DeviceState,
    /// Since when none of its engines is in service; `None` while one is.
    since: Option<u64>,
    /// How many of its engines are in service.
    engines: usize,
    /// Its measured hash rate while it searches, in hashes per second.
    hash_rate: f64,
    /// Hashes per second in the last three seconds.
    live_hash_rate: f64,
    /// Nonces tested since the service started.
    hashes: u64,
    /// Errors, wrong answers and hangs since the service started.
    faults: u64,
    /// The error that put it out of service, or else its last error.
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Queue {
    running: usize,
    waiting: usize,
    /// How many searches there may be beyond the slots.
    capacity: usize,
    /// How many slots there are for hard searches.
    turns: usize,
    /// How long a hard search that came now would wait for a slot on average; `None` while no hash rate is known.
    expected_wait_seconds: Option<f64>,
    temperature: Temperature,
}

/// How busy the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Temperature {
    /// No search runs.
    Idle,
    /// Searches run, and none waits.
    Warm,
    /// Searches wait.
    Hot,
    /// A further search would be refused.
    Full,
}

impl Temperature {
    const fn of(status: &scheduler::Status, slots: usize) -> Self {
        let searches = status.running + status.waiting;
        if searches >= slots + status.capacity {
            Self::Full
        } else if status.waiting > 0 {
            Self::Hot
        } else if status.running > 0 {
            Self::Warm
        } else {
            Self::Idle
        }
    }
}

#[derive(Debug, Serialize)]
struct Expected {
    network: &'static str,
    /// Of a network of Atto: the threshold now, in decimal digits, as `POST /works/verify` returns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<String>,
    /// Of Nano: the base difficulty, 16 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    difficulty: Option<String>,
    mean_seconds: f64,
    /// 99 % of searches take no longer.
    p99_seconds: f64,
}

#[derive(Debug, Serialize)]
struct IncidentRow {
    at: u64,
    device: String,
    /// `fault`, `not_opened`, `back` or `fallen_back_to`.
    what: &'static str,
    /// The error, if there is one.
    text: Option<String>,
    /// How many times in a row. `at` and `text` are of the last time.
    times: u32,
}

impl From<&Incident> for IncidentRow {
    fn from(incident: &Incident) -> Self {
        let (what, text) = match &incident.event {
            Event::Fault(text) => ("fault", Some(text)),
            Event::NotOpened(text) => ("not_opened", Some(text)),
            Event::Back => ("back", None),
            Event::FallenBackTo => ("fallen_back_to", None),
        };
        Self {
            at: millis(incident.at),
            device: incident.device.clone(),
            what,
            text: text.map(|text| shortened(text)),
            times: incident.times,
        }
    }
}

impl DeviceRow {
    fn new(device: &DeviceStatus, live_hash_rate: f64) -> Self {
        let outage = device.outage.as_ref();
        let error = outage.map(|outage| &outage.error);
        Self {
            name: device.info.name.clone(),
            backend: device.info.backend,
            kernel: device.info.kernel.clone(),
            state: device.state,
            since: outage.map(|outage| millis(outage.since)),
            engines: device.engines,
            hash_rate: device.hash_rate.round(),
            live_hash_rate: live_hash_rate.round(),
            hashes: device.hashes,
            faults: device.faults,
            last_error: error
                .or(device.last_error.as_ref())
                .map(|error| shortened(error)),
        }
    }
}

/// Takes a sample for the history once a second. Never ends.
pub async fn observe(scheduler: Scheduler, history: History) {
    let mut samples = interval(SAMPLE_EVERY);
    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        samples.tick().await;
        let status = scheduler.status();
        history.observe(Sample {
            running: status.running,
            waiting: status.waiting,
            hashes: scheduler
                .devices()
                .iter()
                .map(|device| device.hashes)
                .collect(),
        });
    }
}

/// The response.
pub(super) fn data(phase: Phase, scheduler: &Scheduler, about: &About) -> Response {
    let history = about.history.snapshot();
    let (status, incidents) = (scheduler.status(), scheduler.incidents());
    let live = |place: usize| history.live_rates.get(place).copied().unwrap_or_default();
    let devices = scheduler.devices();
    let devices = devices.iter().enumerate();
    let body = Status {
        at: millis(SystemTime::now()),
        server: Server {
            version: build_info::VERSION,
            commit: build_info::COMMIT,
            features: build_info::FEATURES,
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            uptime_seconds: about.history.age().as_secs_f64().round(),
            phase: phase.as_str(),
            can_serve: status.can_serve,
            clock_is_set: Timestamp::clock().is_ok(),
        },
        devices: devices
            .map(|(place, device)| DeviceRow::new(device, live(place)))
            .collect(),
        missing_cards: scheduler.missing_cards().map(|missing| MissingCards {
            reasons: missing
                .reasons
                .iter()
                .map(|reason| shortened(reason))
                .collect(),
            ..missing
        }),
        queue: Queue {
            running: status.running,
            waiting: status.waiting,
            capacity: status.capacity,
            turns: about.slots,
            expected_wait_seconds: status.expected_wait.map(|wait| wait.as_secs_f64()),
            temperature: Temperature::of(&status, about.slots),
        },
        expected: expected(status.hash_rate, Timestamp::now(), about.nano),
        incidents: incidents
            .iter()
            .skip(incidents.len().saturating_sub(INCIDENTS))
            .map(IncidentRow::from)
            .collect(),
        configuration: &about.configuration,
        api_keys: about.keys.as_ref().map(Keys::count),
        history,
    };
    guarded(warp::reply::json(&body).into_response())
}

/// How long searches take at `rate` hashes per second, by the rules of now.
fn expected(rate: f64, now: Timestamp, nano: Option<Difficulty>) -> Vec<Expected> {
    if rate <= 0.0 {
        return Vec::new();
    }
    let of = |(network, rule): (AnyNetwork, Rule)| {
        let (threshold, difficulty) = match rule {
            Rule::AtMost(threshold) => (Some(threshold.to_string()), None),
            Rule::AtLeast(difficulty) => (None, Some(difficulty.to_string())),
        };
        let mean_seconds = rule.expected_hashes() / rate;
        Expected {
            network: network.as_str(),
            threshold,
            difficulty,
            mean_seconds,
            p99_seconds: P99 * mean_seconds,
        }
    };
    AnyNetwork::served(now, nano).map(of).collect()
}

fn millis(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The first [`LONGEST_TEXT`] characters of a text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests;
