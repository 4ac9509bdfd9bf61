//! The status page: what the server does, why it is slow, and which device is to blame. `GET /` is the page, one file
//! that loads nothing, and `GET /status.json` the data that it shows and asks for again every two seconds.
//!
//! Driver errors and device names are text of others: the page puts them in as text, never as markup, and its content
//! security policy lets nothing run but its own script.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use warp::Reply;
use warp::http::{HeaderName, HeaderValue, header};
use warp::reply::Response;

use super::Management;
use crate::build_info;
use crate::device::{Backend, MissingCards};
use crate::http::{Keys, Problem};
use crate::scheduler::{self, DeviceState, DeviceStatus, Event, Incident, Scheduler};
use crate::telemetry::{History, Sample, Snapshot};
use crate::work::{Network, Threshold, Timestamp};

/// The page. Its style and its script carry the word `NONCE` where that of an answer goes.
const PAGE: &str = include_str!("status.html");

/// What stands in [`PAGE`] for the number that is used once.
const NONCE: &str = "%NONCE%";

/// How often the service is looked at for its history.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many incidents are shown, the latest.
const INCIDENTS: usize = 32;

/// The most characters of an error that are shown: drivers can be long-winded.
const LONGEST_TEXT: usize = 300;

/// A search is spread exponentially, so 99 of 100 end within `ln 100` times the mean.
const P99: f64 = 4.605_170_185_988_092;

/// What the page shows beside what the scheduler knows.
#[derive(Clone, Debug)]
pub struct About {
    /// The last ten minutes.
    pub history: History,
    /// How the service was configured. Without secrets.
    pub configuration: Vec<Setting>,
    /// The API keys, which are counted, if there are any.
    pub keys: Option<Keys>,
    /// How many hard searches take turns.
    pub turns: usize,
}

/// A variable of the configuration, as it was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The environment variable's name.
    pub variable: &'static str,
    /// Its value, or what it comes to where it is not set; `None` if that is nothing.
    pub value: Option<String>,
    /// Whether it is what it would be if nothing was set.
    pub is_default: bool,
}

/// The body of `GET /status.json`. Times are Unix milliseconds by the server's clock.
#[derive(Debug, Serialize)]
struct Status<'a> {
    /// When this was written.
    at: u64,
    server: Server,
    /// Every device that serves, has served or should.
    devices: Vec<DeviceRow>,
    /// Why cards do not serve that are none of these; `None` where there is nothing to say.
    missing_cards: Option<MissingCards>,
    queue: Queue,
    /// How long a search takes with all devices to itself, hardest network first. Empty while no speed is known.
    expected: Vec<Expected>,
    history: Snapshot,
    /// What has happened to devices lately, the latest last.
    incidents: Vec<IncidentRow>,
    configuration: &'a [Setting],
    /// How many API keys there are; `None` if nobody needs one.
    api_keys: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Server {
    version: &'static str,
    /// The commit that it was built from, 40 hex digits, or `unknown`.
    commit: &'static str,
    /// What is built in, separated by commas.
    features: &'static str,
    /// The machine's or the container's name.
    host: String,
    /// Since the process began.
    uptime_seconds: f64,
    /// `starting`, `serving`, `leaving`, in which it is not ready any more and serves as before, or `draining`.
    phase: &'static str,
    /// Whether some device serves, or is about to.
    can_serve: bool,
}

#[derive(Debug, Serialize)]
struct DeviceRow {
    name: String,
    backend: Backend,
    kernel: String,
    state: DeviceState,
    /// Since when none of its engines may serve; `None` while one may.
    since: Option<u64>,
    /// How many of its engines may serve.
    engines: usize,
    /// Hashes a second while it searches, as measured.
    hash_rate: f64,
    /// Hashes a second that it did in the last three seconds.
    live_hash_rate: f64,
    /// Nonces tested since the service began.
    hashes: u64,
    /// Errors, wrong answers and hangs since then.
    faults: u64,
    /// What it went out of service for, if it is, else what was wrong with it last.
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Queue {
    running: usize,
    waiting: usize,
    /// How many may wait.
    capacity: usize,
    /// How many hard searches take turns.
    turns: usize,
    /// How long a hard search that came now would wait for its turn on average; `None` while no speed is known.
    expected_wait_seconds: Option<f64>,
    temperature: Temperature,
}

/// How busy the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Temperature {
    /// Nothing runs.
    Idle,
    /// Something runs, and nothing waits.
    Warm,
    /// Something waits.
    Hot,
    /// One more would be refused.
    Full,
}

impl Temperature {
    const fn of(status: &scheduler::Status, turns: usize) -> Self {
        let searches = status.running + status.waiting;
        if searches >= turns + status.capacity {
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
    /// As of now, in decimal digits, as `POST /works/verify` has it.
    threshold: String,
    mean_seconds: f64,
    /// 99 of 100 searches take no longer.
    p99_seconds: f64,
}

#[derive(Debug, Serialize)]
struct IncidentRow {
    at: u64,
    device: String,
    /// `fault`, `not_opened`, `back` or `fallen_back_to`.
    what: &'static str,
    /// Why, in the driver's words or ours.
    text: Option<String>,
    /// How often in a row; `at` and `text` are those of the last time.
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

/// Looks at the service once a second for its history. Never ends.
pub async fn observe(scheduler: Scheduler, history: History) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
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

/// The page, with a policy that lets it have its own style and script, its data, and nothing else.
pub(super) fn page(_: &Management) -> Response {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the system gives no random bytes for the status page");
        return Problem::Internal.into_response();
    }
    let nonce = hex::encode(bytes);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).expect("words and hex digits");
    let mut response = warp::reply::html(PAGE.replace(NONCE, &nonce)).into_response();
    response.headers_mut().extend([
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, NO_STORE),
        (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ]);
    response
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Keeps pages of other origins from loading this (Fetch Standard).
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The data of the page.
pub(super) fn data(management: &Management) -> Response {
    let Management {
        lifecycle,
        scheduler,
        about,
        ..
    } = management;
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
            phase: lifecycle.phase(),
            can_serve: status.can_serve,
        },
        devices: devices
            .map(|(place, device)| DeviceRow::new(device, live(place)))
            .collect(),
        missing_cards: scheduler.missing().map(|missing| MissingCards {
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
            turns: about.turns,
            expected_wait_seconds: status.expected_wait.map(|wait| wait.as_secs_f64()),
            temperature: Temperature::of(&status, about.turns),
        },
        expected: expected(status.hash_rate, Timestamp::now()),
        incidents: incidents
            .iter()
            .skip(incidents.len().saturating_sub(INCIDENTS))
            .map(IncidentRow::from)
            .collect(),
        configuration: &about.configuration,
        api_keys: about.keys.as_ref().map(Keys::count),
        history,
    };
    let mut response = warp::reply::json(&body).into_response();
    response.headers_mut().extend([
        (header::CACHE_CONTROL, NO_STORE),
        (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ]);
    response
}

/// How long searches of now take at `rate` hashes a second.
fn expected(rate: f64, now: Timestamp) -> Vec<Expected> {
    if rate <= 0.0 {
        return Vec::new();
    }
    let of = |network| {
        let threshold = Threshold::required(network, now);
        let mean_seconds = threshold.expected_hashes() / rate;
        Expected {
            network: Network::as_str(network),
            threshold: threshold.get().to_string(),
            mean_seconds,
            p99_seconds: P99 * mean_seconds,
        }
    };
    Network::ALL.into_iter().map(of).collect()
}

fn millis(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The beginning of a text, if it is long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::DeviceInfo;
    use crate::scheduler::Outage;

    #[test]
    fn an_outage_is_told_by_its_beginning() {
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
    fn the_queue_is_as_warm_as_it_is() {
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
        // Easy searches run at once, and count.
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
        let expected = expected(1e8, now);
        assert_eq!(expected[0].network, "LIVE");
        assert_eq!(expected[0].threshold, "4294967295");
        assert!((expected[0].mean_seconds - 42.949_672_96).abs() < 1e-6);
        assert!((expected[0].p99_seconds - 197.79).abs() < 0.01);
        assert_eq!(expected.len(), 4);
        assert!(super::expected(0.0, now).is_empty());
    }

    #[test]
    fn the_page_asks_nobody_else() {
        let own = PAGE.replace("http://www.w3.org/2000/svg", "");
        for word in [
            "http:",
            "https:",
            "//cdn",
            "@import",
            "innerHTML",
            " onclick",
            " style=\"",
        ] {
            assert!(!own.contains(word), "{word}");
        }
        assert_eq!(PAGE.matches(NONCE).count(), 2);
    }
}
