//! What the service did in the last ten minutes, for the status page: intervals of five seconds in a ring.
//!
//! Prometheus keeps the long history, where there is one. This is for whoever looks at a server that has none, or at
//! once. Memory is bounded: an interval has at most three histograms of 2 KB each, so all of them 0.7 MB, and those
//! without requests nearly nothing.
//!
//! Whoever reads computes percentiles without the lock that every request takes when it ends: intervals that have ended
//! do not change, so they are shared, and their percentiles are computed once.
//!
//! Intervals follow the monotonic clock. The wall clock only labels them when they are read, so that one that is set
//! does no harm.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Outcome;

/// How long an interval is.
const INTERVAL: Duration = Duration::from_secs(5);

/// How many intervals that have ended are kept: ten minutes.
const KEPT: usize = 120;

/// How many of them make the last minute, beside the one that goes on.
const LAST_MINUTE: usize = 12;

/// Between how many samples the live rates are: batches do not come back evenly, so one second would jump.
const LIVE_SAMPLES: usize = 4;

/// The longest time that is told from longer ones: that of a request with the longest deadline.
const LONGEST: Duration = Duration::from_secs(3600);

/// One significant digit, in the histogram's sense: a time is known to a part in 16. A chart shows no more.
const PRECISION: u8 = 1;

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedRequest {
    /// How.
    pub outcome: Outcome,
    /// How long it took in all. Counts only if it was answered.
    pub total: Duration,
    /// How long it waited for a device, and was searched for, as the histograms have it; `None` if no search has answered
    /// it.
    pub search: Option<(Duration, Duration)>,
}

/// What the service is doing at a moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// How many searches run.
    pub running: usize,
    /// How many wait.
    pub waiting: usize,
    /// How many nonces each device has tested since the service began. A device keeps its place.
    pub hashes: Vec<u64>,
}

/// The last ten minutes. A clone is the same one.
#[derive(Clone, Debug)]
pub struct History(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    began: Instant,
    /// Requests by outcome, since the beginning.
    requests: [u64; Outcome::ALL.len()],
    /// The intervals that have ended, the latest last.
    ended: VecDeque<Arc<Ended>>,
    live: Interval,
    /// The number of the live interval, from the beginning.
    number: u64,
    /// The latest [`LIVE_SAMPLES`] samples, and when they were taken, the latest last.
    samples: VecDeque<(Instant, Sample)>,
}

/// The state at a moment, for whoever reads.
struct View {
    requests: [u64; Outcome::ALL.len()],
    ended: Vec<Arc<Ended>>,
    live: Interval,
    /// How long the live interval has gone on.
    live_for: Duration,
    live_rates: Vec<f64>,
}

/// An interval that has ended.
#[derive(Debug, Default)]
struct Ended {
    interval: Interval,
    percentiles: OnceLock<EndedPercentiles>,
}

/// The percentiles of an interval.
#[derive(Clone, Copy, Debug)]
struct EndedPercentiles {
    wait: Option<Percentiles>,
    solve: Option<Percentiles>,
    total: Option<Percentiles>,
}

impl Ended {
    fn percentiles(&self) -> EndedPercentiles {
        *self.percentiles.get_or_init(|| EndedPercentiles {
            wait: self.interval.wait.percentiles(),
            solve: self.interval.solve.percentiles(),
            total: self.interval.total.percentiles(),
        })
    }
}

#[derive(Clone, Debug, Default)]
struct Interval {
    requests: [u32; Outcome::ALL.len()],
    wait: Spread,
    solve: Spread,
    total: Spread,
    /// How many searches ran and waited when it was last looked.
    queue: Option<(usize, usize)>,
    /// Nonces tested by each device between samples, and how long that was.
    hashes: Vec<u64>,
    sampled: Duration,
}

/// Times, in microseconds. There once one has come.
#[derive(Clone, Debug, Default)]
struct Spread(Option<Box<Histogram<u32>>>);

/// Times that so many of a hundred requests stay within, in seconds, to a part in 16.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of them.
    pub p50: f64,
    /// 95 of them.
    pub p95: f64,
    /// 99 of them.
    pub p99: f64,
}

/// Percentiles by interval; `None` where no request ended that they could be of.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PercentileColumns {
    /// As [`Percentiles::p50`].
    pub p50: Vec<Option<f64>>,
    /// As [`Percentiles::p95`].
    pub p95: Vec<Option<f64>>,
    /// As [`Percentiles::p99`].
    pub p99: Vec<Option<f64>>,
}

/// The intervals that have ended, the latest last: every column has one value for each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Columns {
    /// How long an interval is, in seconds.
    pub interval_seconds: u64,
    /// When each ended, in Unix milliseconds.
    pub ends: Vec<u64>,
    /// Requests for work that ended in it, by [`Outcome::label`].
    pub requests: BTreeMap<&'static str, Vec<u32>>,
    /// Searches that ran at its end; `None` if nobody looked.
    pub running: Vec<Option<usize>>,
    /// Searches that waited at its end, likewise.
    pub waiting: Vec<Option<usize>>,
    /// For each device, in the order of [`Sample::hashes`], hashes a second; `None` if nobody looked.
    pub hash_rates: Vec<Vec<Option<u64>>>,
    /// How long requests waited for a device, in seconds.
    pub wait: PercentileColumns,
    /// How long they were searched for then.
    pub solve: PercentileColumns,
    /// How long they took in all, those that were answered without a search included.
    pub total: PercentileColumns,
}

/// A time until now, taken together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Window {
    /// How long it is: as long as asked for, or as the service has run.
    pub seconds: f64,
    /// Requests for work that ended in it, by [`Outcome::label`].
    pub requests: BTreeMap<&'static str, u64>,
    /// Those that were answered with work, by the second.
    pub works_per_second: f64,
    /// As [`Columns::wait`].
    pub wait: Option<Percentiles>,
    /// As [`Columns::solve`].
    pub solve: Option<Percentiles>,
    /// As [`Columns::total`].
    pub total: Option<Percentiles>,
}

/// The history as it is read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Requests for work that have ended since the service began, by [`Outcome::label`].
    pub requests: BTreeMap<&'static str, u64>,
    /// The last minute, the interval that goes on included.
    pub last_minute: Window,
    /// Everything that is kept, likewise.
    pub last_ten_minutes: Window,
    /// Interval by interval.
    pub intervals: Columns,
    /// Hashes a second of each device in the last three seconds, in the order of [`Sample::hashes`].
    #[serde(skip)]
    pub live_rates: Vec<f64>,
}

impl History {
    /// An empty history that begins now.
    pub fn new() -> Self {
        Self::beginning(Instant::now())
    }

    fn beginning(began: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            began,
            requests: Default::default(),
            ended: VecDeque::with_capacity(KEPT),
            live: Interval::default(),
            number: 0,
            samples: VecDeque::with_capacity(LIVE_SAMPLES),
        })))
    }

    /// Counts a request for work that has ended.
    pub fn request_ended(&self, ended: EndedRequest) {
        self.at(Instant::now()).count(ended);
    }

    /// Looks at the service. To be called once a second or so.
    pub fn observe(&self, sample: Sample) {
        let now = Instant::now();
        self.at(now).observe(now, sample);
    }

    /// What there is to read now.
    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let view = self.at(now).view(now);
        view.snapshot(SystemTime::now())
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        let now = Instant::now();
        now.saturating_duration_since(self.at(now).began)
    }

    /// The state, its live interval being that of `now`.
    fn at(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.turn(now);
        state
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Ends the intervals that are over at `now`. A time before the live interval belongs to that.
    fn turn(&mut self, now: Instant) {
        let number = now.saturating_duration_since(self.began).as_secs() / INTERVAL.as_secs();
        let over = number.saturating_sub(self.number);
        // Whoever was asleep for longer has nothing to tell of that time.
        for _ in 0..over.min(KEPT as u64 + 1) {
            if self.ended.len() == KEPT {
                self.ended.pop_front();
            }
            let interval = std::mem::take(&mut self.live);
            self.ended.push_back(Arc::new(Ended {
                interval,
                percentiles: OnceLock::new(),
            }));
        }
        self.number += over;
    }

    fn count(&mut self, ended: EndedRequest) {
        let EndedRequest {
            outcome,
            total,
            search,
        } = ended;
        self.requests[outcome as usize] += 1;
        let live = &mut self.live;
        live.requests[outcome as usize] = live.requests[outcome as usize].saturating_add(1);
        if outcome != Outcome::Ok {
            return;
        }
        live.total.record(total);
        if let Some((wait, solve)) = search {
            live.wait.record(wait);
            live.solve.record(solve);
        }
    }

    fn observe(&mut self, now: Instant, sample: Sample) {
        let live = &mut self.live;
        live.queue = Some((sample.running, sample.waiting));
        live.hashes.resize(sample.hashes.len(), 0);
        if let Some((then, before)) = self.samples.back() {
            let passed = now.saturating_duration_since(*then);
            live.sampled += passed;
            for (device, hashes) in sample.hashes.iter().enumerate() {
                let before = before.hashes.get(device).copied().unwrap_or_default();
                live.hashes[device] += hashes.saturating_sub(before);
            }
        }
        if self.samples.len() == LIVE_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sample));
    }

    /// Hashes a second of each device between the first and the last of the latest samples.
    fn live_rates(&self) -> Vec<f64> {
        let (Some((then, before)), Some((now, sample))) =
            (self.samples.front(), self.samples.back())
        else {
            return Vec::new();
        };
        let passed = now.saturating_duration_since(*then);
        let of = |(device, hashes): (usize, &u64)| {
            let before = before.hashes.get(device).copied().unwrap_or_default();
            rate(hashes.saturating_sub(before), passed).unwrap_or(0.0)
        };
        sample.hashes.iter().enumerate().map(of).collect()
    }

    /// What there is to read. Copies one interval at most.
    fn view(&self, now: Instant) -> View {
        let since_began = now.saturating_duration_since(self.began);
        let before = INTERVAL * u32::try_from(self.number).unwrap_or(u32::MAX);
        View {
            requests: self.requests,
            ended: self.ended.iter().cloned().collect(),
            live: self.live.clone(),
            live_for: since_began.saturating_sub(before),
            live_rates: self.live_rates(),
        }
    }
}

impl View {
    fn snapshot(&self, wall: SystemTime) -> Snapshot {
        Snapshot {
            requests: by_outcome(|outcome| self.requests[outcome as usize]),
            last_minute: self.window(LAST_MINUTE),
            last_ten_minutes: self.window(KEPT),
            intervals: self.columns(wall),
            live_rates: self.live_rates.clone(),
        }
    }

    /// The last `count` intervals that have ended and the live one.
    fn window(&self, count: usize) -> Window {
        let ended = self.ended.iter().rev().take(count);
        let time = INTERVAL * u32::try_from(ended.len()).unwrap_or(u32::MAX) + self.live_for;
        let seconds = time.as_secs_f64();
        let ended = ended.map(|ended| &ended.interval);
        let intervals: Vec<_> = ended.chain([&self.live]).collect();
        let percentiles = |spread: fn(&Interval) -> &Spread| {
            Spread::together(intervals.iter().map(|interval| spread(interval))).percentiles()
        };
        let requests = by_outcome(|outcome| {
            let counts = intervals.iter();
            counts
                .map(|interval| u64::from(interval.requests[outcome as usize]))
                .sum::<u64>()
        });
        let answered = requests[Outcome::Ok.label()];
        Window {
            seconds: rounded(seconds),
            works_per_second: if seconds > 0.0 {
                rounded(answered as f64 / seconds)
            } else {
                0.0
            },
            requests,
            wait: percentiles(|interval| &interval.wait),
            solve: percentiles(|interval| &interval.solve),
            total: percentiles(|interval| &interval.total),
        }
    }

    fn columns(&self, wall: SystemTime) -> Columns {
        let now = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let end = |age: usize| {
            let ago = self.live_for + INTERVAL * u32::try_from(age).unwrap_or(u32::MAX);
            u64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or(u64::MAX)
        };
        // There is one for each device of the latest sample.
        let devices = self.live_rates.len();
        let column = |of: fn(EndedPercentiles) -> Option<Percentiles>| {
            let mut columns = PercentileColumns::default();
            for ended in &self.ended {
                let percentiles = of(ended.percentiles());
                columns.p50.push(percentiles.map(|times| times.p50));
                columns.p95.push(percentiles.map(|times| times.p95));
                columns.p99.push(percentiles.map(|times| times.p99));
            }
            columns
        };
        let ended = || self.ended.iter().map(|ended| &ended.interval);
        let hash_rate = |interval: &Interval, device: usize| {
            let hashes = interval.hashes.get(device)?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a rate is positive, and `as` saturates"
            )]
            rate(*hashes, interval.sampled).map(|rate| rate as u64)
        };
        Columns {
            interval_seconds: INTERVAL.as_secs(),
            ends: (0..self.ended.len()).rev().map(end).collect(),
            requests: by_outcome(|outcome| {
                ended()
                    .map(|interval| interval.requests[outcome as usize])
                    .collect()
            }),
            running: ended()
                .map(|interval| interval.queue.map(|(running, _)| running))
                .collect(),
            waiting: ended()
                .map(|interval| interval.queue.map(|(_, waiting)| waiting))
                .collect(),
            hash_rates: (0..devices)
                .map(|device| {
                    ended()
                        .map(|interval| hash_rate(interval, device))
                        .collect()
                })
                .collect(),
            wait: column(|of| of.wait),
            solve: column(|of| of.solve),
            total: column(|of| of.total),
        }
    }
}

impl Spread {
    fn empty() -> Histogram<u32> {
        Histogram::new_with_max(micros(LONGEST), PRECISION).expect("the bounds are in order")
    }

    fn record(&mut self, time: Duration) {
        let times = self.0.get_or_insert_with(|| Box::new(Self::empty()));
        times.saturating_record(micros(time));
    }

    fn together<'a>(spreads: impl Iterator<Item = &'a Self>) -> Self {
        let mut all: Option<Box<Histogram<u32>>> = None;
        for times in spreads.filter_map(|spread| spread.0.as_deref()) {
            all.get_or_insert_with(|| Box::new(Self::empty()))
                .add(times)
                .expect("they have the same bounds");
        }
        Self(all)
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let times = self.0.as_deref()?;
        let at = |quantile| {
            // In the middle of its class: the library gives the end.
            let micros = times.median_equivalent(times.value_at_quantile(quantile));
            rounded(micros as f64 / 1e6)
        };
        Some(Percentiles {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        })
    }
}

/// Something for each outcome.
fn by_outcome<T>(of: impl Fn(Outcome) -> T) -> BTreeMap<&'static str, T> {
    Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome.label(), of(outcome)))
        .collect()
}

/// How many a second; `None` if no time has passed.
fn rate(count: u64, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Four significant digits, so that the numbers are short.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history, and a time so many seconds after it began.
    struct At(History, Instant);

    impl At {
        fn new() -> Self {
            let began = Instant::now();
            Self(History::beginning(began), began)
        }

        fn time(&self, seconds: f64) -> Instant {
            self.1 + Duration::from_secs_f64(seconds)
        }

        fn count(&self, seconds: f64, outcome: Outcome, search: Option<(u64, u64)>) {
            let millis = Duration::from_millis;
            let search = search.map(|(wait, solve)| (millis(wait), millis(solve)));
            let total = search.map_or(millis(1), |(wait, solve)| wait + solve);
            self.0.at(self.time(seconds)).count(EndedRequest {
                outcome,
                total,
                search,
            });
        }

        fn observe(&self, seconds: f64, running: usize, hashes: &[u64]) {
            let now = self.time(seconds);
            let sample = Sample {
                running,
                waiting: 0,
                hashes: hashes.to_vec(),
            };
            self.0.at(now).observe(now, sample);
        }

        fn snapshot(&self, seconds: f64) -> Snapshot {
            let now = self.time(seconds);
            let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
            let view = self.0.at(now).view(now);
            view.snapshot(wall)
        }
    }

    fn ok(snapshot: &Snapshot) -> &[u32] {
        &snapshot.intervals.requests["ok"]
    }

    fn near(value: f64, expected: f64) -> bool {
        (value / expected - 1.0).abs() < 1.0 / 16.0
    }

    #[test]
    fn outcomes_are_counted_under_their_own_name() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
            let history = At::new();
            history.count(0.0, outcome, None);
            let snapshot = history.snapshot(5.0);
            for other in Outcome::ALL {
                let expected = u32::from(other == outcome);
                assert_eq!(snapshot.intervals.requests[other.label()], [expected]);
                assert_eq!(snapshot.requests[other.label()], u64::from(expected));
            }
        }
    }

    #[test]
    fn an_interval_is_shown_when_it_has_ended_and_counts_at_once() {
        let history = At::new();
        history.count(4.9, Outcome::Ok, None);
        let snapshot = history.snapshot(4.99);
        assert!(ok(&snapshot).is_empty());
        assert_eq!(snapshot.last_minute.requests["ok"], 1);
        assert!(near(snapshot.last_minute.works_per_second, 1.0 / 4.99));
        history.count(5.0, Outcome::Ok, None);
        history.count(9.9, Outcome::Ok, None);
        let snapshot = history.snapshot(12.0);
        assert_eq!(ok(&snapshot), [1, 2]);
        assert_eq!(
            snapshot.intervals.ends,
            [1_794_999_993_000, 1_794_999_998_000]
        );
        assert_eq!(snapshot.last_minute.seconds, 12.0);
    }

    #[test]
    fn intervals_in_which_nothing_happened_are_there() {
        let history = At::new();
        history.count(1.0, Outcome::Ok, Some((0, 5)));
        history.count(21.0, Outcome::Ok, None);
        let snapshot = history.snapshot(25.0);
        assert_eq!(ok(&snapshot), [1, 0, 0, 0, 1]);
        let solve = &snapshot.intervals.solve.p50;
        assert!(solve[0].is_some_and(|time| near(time, 0.005)), "{solve:?}");
        // The last was answered without a search.
        assert_eq!(solve[1..], [None; 4]);
        assert!(snapshot.intervals.total.p50[4].is_some());
        assert_eq!(snapshot.intervals.running, [None; 5]);
    }

    #[test]
    fn the_last_ten_minutes_are_kept_and_no_more() {
        let history = At::new();
        for second in 0..2000 {
            history.count(f64::from(second), Outcome::Ok, Some((1, 1)));
        }
        let snapshot = history.snapshot(2000.0);
        assert_eq!(ok(&snapshot), [5; KEPT]);
        assert_eq!(snapshot.requests["ok"], 2000);
        assert_eq!(snapshot.last_ten_minutes.requests["ok"], 600);
        assert_eq!(snapshot.last_minute.requests["ok"], 60);
        assert_eq!(snapshot.last_minute.works_per_second, 1.0);
        // A histogram has as many classes as the file says, of four bytes each.
        assert!(Spread::empty().distinct_values() * 4 <= 2048);
        // After a long sleep there is nothing to tell.
        let snapshot = history.snapshot(1e6);
        assert_eq!(ok(&snapshot), [0; KEPT]);
        assert_eq!(snapshot.last_ten_minutes.solve, None);
    }

    #[test]
    fn percentiles_are_those_of_the_times() {
        let history = At::new();
        for millis in 1..=1000 {
            history.count(1.0, Outcome::Ok, Some((millis, 10 * millis)));
        }
        for outcome in [Outcome::Cancelled, Outcome::Deadline, Outcome::QueueFull] {
            history.count(1.0, outcome, Some((1_000_000, 1_000_000)));
        }
        let window = history.snapshot(5.0).last_minute;
        let (wait, solve) = (window.wait.unwrap(), window.solve.unwrap());
        for (time, expected) in [(wait.p50, 0.5), (wait.p95, 0.95), (wait.p99, 0.99)] {
            assert!(near(time, expected), "{wait:?}");
        }
        assert!(near(solve.p99, 9.9), "{solve:?}");
        assert!(near(window.total.unwrap().p50, 5.5));
    }

    #[test]
    fn times_beyond_the_longest_are_the_longest() {
        let history = At::new();
        history.count(0.0, Outcome::Ok, Some((u64::MAX / 2_000_000, 0)));
        let wait = history.snapshot(1.0).last_minute.wait.unwrap();
        assert!(near(wait.p50, 3600.0), "{wait:?}");
    }

    #[test]
    fn hash_rates_are_those_between_samples() {
        let history = At::new();
        history.observe(0.5, 0, &[1000]);
        history.observe(1.5, 3, &[3000]);
        history.observe(2.5, 4, &[5000, 700]);
        let snapshot = history.snapshot(5.0);
        assert_eq!(snapshot.live_rates, [2000.0, 350.0]);
        assert_eq!(snapshot.intervals.running, [Some(4)]);
        assert_eq!(snapshot.intervals.hash_rates, [[Some(2000)], [Some(350)]]);
        // A sample that comes late says nothing wrong, and a counter that begins again counts from there.
        history.observe(22.5, 0, &[25_000, 0]);
        let rates = history.snapshot(25.0).intervals.hash_rates;
        assert_eq!(rates[0], [Some(2000), None, None, None, Some(1000)]);
        assert_eq!(rates[1], [Some(350), None, None, None, Some(0)]);
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing_that_was() {
        let history = At::new();
        history.count(7.0, Outcome::Ok, None);
        history.observe(8.0, 1, &[100]);
        history.count(1.0, Outcome::Ok, None);
        history.observe(1.0, 1, &[200]);
        let snapshot = history.snapshot(0.0);
        assert_eq!(ok(&snapshot), [0]);
        assert_eq!(ok(&history.snapshot(10.0)), [0, 2]);
    }
}
