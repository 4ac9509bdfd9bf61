//! A history whose clock the test sets.

use super::interval::empty;
use super::*;

/// A history, and a time this many seconds after it began.
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
    // Buckets of four bytes each.
    assert!(empty().distinct_values() * 4 <= 2048);
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
fn a_clock_that_goes_back_does_not_change_the_past() {
    let history = At::new();
    history.count(7.0, Outcome::Ok, None);
    history.observe(8.0, 1, &[100]);
    history.count(1.0, Outcome::Ok, None);
    history.observe(1.0, 1, &[200]);
    let snapshot = history.snapshot(0.0);
    assert_eq!(ok(&snapshot), [0]);
    assert_eq!(ok(&history.snapshot(10.0)), [0, 2]);
}
