//! What dashboards for Spring Boot plot of the process and of its machine.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge};
use rustix::time::{ClockId, clock_gettime};

/// A usage is an average over at least this time. A scrape before that shows the average of the last one.
const SHORTEST: Duration = Duration::from_secs(1);

/// The gauges. A clone shares them.
#[derive(Clone, Debug)]
pub(super) struct System {
    pub(super) process_usage: Gauge,
    pub(super) system_usage: Gauge,
    pub(super) cpus: IntGauge,
    pub(super) load: Gauge,
    last: Arc<Mutex<Usage>>,
}

/// The time that processors have spent so far.
#[derive(Clone, Copy, Debug)]
struct Usage {
    at: Instant,
    process: Duration,
    /// Of all processors of the machine, in ticks: busy, and all.
    system: Option<(u64, u64)>,
}

impl Usage {
    fn now() -> Self {
        let process = clock_gettime(ClockId::ProcessCPUTime);
        let stat = fs::read_to_string("/proc/stat");
        Self {
            at: Instant::now(),
            process: Duration::try_from(process).unwrap_or_default(),
            system: stat.ok().and_then(|stat| ticks(&stat)),
        }
    }
}

impl System {
    pub(super) fn new(
        process_usage: Gauge,
        system_usage: Gauge,
        cpus: IntGauge,
        load: Gauge,
    ) -> Self {
        Self {
            process_usage,
            system_usage,
            cpus,
            load,
            last: Arc::new(Mutex::new(Usage::now())),
        }
    }

    /// Sets the gauges. A usage is the average since it was last set.
    pub(super) fn observe(&self) {
        let cpus = available_parallelism().map_or(1, usize::from);
        self.cpus.set(i64::try_from(cpus).unwrap_or(i64::MAX));
        let load = fs::read_to_string("/proc/loadavg");
        let load = load
            .ok()
            .and_then(|load| load.split(' ').next()?.parse().ok());
        self.load.set(load.unwrap_or(f64::NAN));

        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.elapsed() < SHORTEST {
            return;
        }
        let now = Usage::now();
        let took = (now.at - last.at).as_secs_f64() * cpus as f64;
        let process = now.process.saturating_sub(last.process).as_secs_f64();
        self.process_usage.set((process / took).min(1.0));
        let system = now.system.zip(last.system).map(|(now, last)| {
            let (busy, all) = (now.0.saturating_sub(last.0), now.1.saturating_sub(last.1));
            busy as f64 / all.max(1) as f64
        });
        self.system_usage.set(system.unwrap_or(f64::NAN));
        *last = now;
    }
}

/// The ticks of all processors in `/proc/stat` (`proc_stat(5)`): busy, and all.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let all = stat.lines().next()?.strip_prefix("cpu ")?;
    // User, nice, system, idle, waiting, interrupts, soft interrupts, stolen. Guests are in the first two.
    let ticks: Vec<u64> = all
        .split_whitespace()
        .take(8)
        .map(|ticks| ticks.parse().ok())
        .collect::<Option<_>>()?;
    let all = ticks.iter().sum::<u64>();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((all - idle, all))
}

/// Adds families under Spring's names that have the values of others.
pub(super) fn add_aliases(families: &mut Vec<MetricFamily>) {
    let aliases = [
        ("process_open_fds", "process_files_open_files"),
        ("process_max_fds", "process_files_max_files"),
    ];
    for (name, alias) in aliases {
        let found = families.iter().find(|family| family.name() == name);
        if let Some(mut family) = found.cloned() {
            family.set_name(alias.to_owned());
            families.push(family);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_and_single_processors_count_once() {
        let stat = "cpu  10 1 5 100 4 2 3 5 7 1\ncpu0 10 1 5 100 4 2 3 5 7 1\n";
        assert_eq!(ticks(stat), Some((26, 130)));
        for wrong in ["", "cpu 1 2", "cpu  a b c d e f g h", "intr 1\n"] {
            assert_eq!(ticks(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn usages_are_parts_of_one() {
        let gauge = || Gauge::new("name", "Help.").unwrap();
        let cpus = IntGauge::new("name", "Help.").unwrap();
        let system = System::new(gauge(), gauge(), cpus, gauge());
        system.last.lock().unwrap().at -= SHORTEST;
        system.observe();
        assert!((0.0..=1.0).contains(&system.process_usage.get()));
        assert!((0.0..=1.0).contains(&system.system_usage.get()));
        assert!(system.cpus.get() > 0 && system.load.get() >= 0.0);
    }
}
