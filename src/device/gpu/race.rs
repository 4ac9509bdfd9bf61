//! The choice of the fastest kernel on a card. None is the fastest on every card: it depends on the card's instructions and,
//! more, on its driver's compiler.
//!
//! An idle card has a low clock, which rises within tenths of a second of work. So all kernels run a little, and then one of
//! them until its rate is steady. Then clearly slower kernels are dropped. The others run laps in alternating order until
//! two laps in a row name the same winner.

use std::time::Duration;

use super::kernel::Kernel;
use crate::device::error::DeviceError;
use crate::device::opened::Trial;
use crate::device::rate::Measured;

/// How long a kernel runs at a time before the laps: first to find its dispatch size, then to be compared.
const HEAT: Duration = Duration::from_millis(20);
/// How long a kernel runs in a lap.
const LAP: Duration = Duration::from_millis(60);
/// Rates that differ by less than this part are the same. Equal kernels differ by 1 to 2 % from lap to lap.
const SAME: f64 = 0.03;
/// A kernel with less than this part of the best rate runs no lap.
const IN_THE_LAPS: f64 = 0.75;
/// A kernel with less than this part of the best rate in a lap runs no further lap.
const IN_THE_NEXT_LAP: f64 = 0.9;
/// A rate may seem steady before the clock begins to rise, so a card is not taken for warm before this time.
const COLD: Duration = Duration::from_millis(300);
/// How much longer a card may take to reach a steady rate.
const WARM_UP: Duration = Duration::from_millis(700);
/// No lap begins after this time. Then the last lap decides.
const LONGEST: Duration = Duration::from_millis(2500);

/// Measures the kernels of one card. `measure` runs one kernel for about the given time. Returns the fastest kernel,
/// and the last rate of each, in the order of `kernels`. `None` if no kernel works.
pub(super) fn race<E>(
    kernels: Vec<(Kernel, E)>,
    measure: impl FnMut(&mut E, Duration) -> Result<Measured, DeviceError>,
) -> Option<(Kernel, E, Vec<Trial>)> {
    let runner = |(kernel, engine)| Runner {
        kernel,
        engine,
        rate: 0.0,
        is_dropped: false,
    };
    let mut race = Race {
        runners: kernels.into_iter().map(runner).collect(),
        measure,
        spent: Duration::ZERO,
    };
    race.run();
    let trials = race.runners.iter().map(|runner| Trial {
        kernel: runner.kernel.to_string(),
        #[expect(clippy::cast_possible_truncation, reason = "a float saturates")]
        hashes_per_second: runner.rate as u64,
    });
    let trials = trials.collect();
    let running = race.runners.into_iter().filter(|it| !it.is_dropped);
    let winner = running.max_by(|a, b| a.rate.total_cmp(&b.rate))?;
    Some((winner.kernel, winner.engine, trials))
}

/// A kernel in the race.
struct Runner<E> {
    kernel: Kernel,
    engine: E,
    /// In hashes per second, the last time that it ran.
    rate: f64,
    is_dropped: bool,
}

struct Race<E, F> {
    /// The kernels that work.
    runners: Vec<Runner<E>>,
    measure: F,
    /// How long kernels have run, all together.
    spent: Duration,
}

impl<E, F: FnMut(&mut E, Duration) -> Result<Measured, DeviceError>> Race<E, F> {
    fn run(&mut self) {
        // The first time only finds the dispatch size.
        self.heat(HEAT, false);
        self.warm_up();
        if self.runners.len() > 1 {
            self.heat(HEAT, false);
            self.drop_below(IN_THE_LAPS);
        }
        let mut before: Option<Vec<(Kernel, f64)>> = None;
        let mut is_reversed = true;
        loop {
            self.heat(LAP, is_reversed);
            is_reversed = !is_reversed;
            let lap = self.rates();
            let is_decided = before.is_some_and(|before| agree(&before, &lap));
            if is_decided || lap.is_empty() || self.spent >= LONGEST {
                return;
            }
            self.drop_below(IN_THE_NEXT_LAP);
            before = Some(lap);
        }
    }

    /// Runs the first kernel until its rate is steady.
    fn warm_up(&mut self) {
        let until = self.spent + COLD + WARM_UP;
        let mut before = 0.0;
        while let Some(first) = self.runners.first()
            && (self.spent < COLD || !is_same(before, first.rate))
            && self.spent < until
        {
            before = first.rate;
            self.turn(0, HEAT);
        }
    }

    /// Runs every kernel that was not dropped, one after the other.
    fn heat(&mut self, duration: Duration, is_reversed: bool) {
        let mut kernels: Vec<_> = self.rates().into_iter().map(|(kernel, _)| kernel).collect();
        if is_reversed {
            kernels.reverse();
        }
        for kernel in kernels {
            let index = self.runners.iter().position(|it| it.kernel == kernel);
            if let Some(index) = index {
                self.turn(index, duration);
            }
        }
    }

    /// Runs a kernel. One that fails leaves the race.
    fn turn(&mut self, index: usize, duration: Duration) {
        let runner = &mut self.runners[index];
        match (self.measure)(&mut runner.engine, duration) {
            Ok(measured) => {
                runner.rate = measured.rate();
                self.spent += measured.elapsed;
            }
            Err(error) => {
                let kernel = runner.kernel;
                tracing::warn!(%kernel, %error, "a kernel of a card fails while it is measured");
                self.runners.remove(index);
            }
        }
    }

    fn drop_below(&mut self, part: f64) {
        let best = self
            .rates()
            .iter()
            .map(|(_, rate)| *rate)
            .fold(0.0, f64::max);
        for runner in &mut self.runners {
            runner.is_dropped |= runner.rate < part * best;
        }
    }

    /// The rates of the kernels that were not dropped.
    fn rates(&self) -> Vec<(Kernel, f64)> {
        let running = self.runners.iter().filter(|runner| !runner.is_dropped);
        running.map(|runner| (runner.kernel, runner.rate)).collect()
    }
}

/// Whether two laps name the same winner, whose rate is steady. The winner of the second lap must have won the first or
/// been as good there, and have run as fast.
fn agree(first: &[(Kernel, f64)], second: &[(Kernel, f64)]) -> bool {
    let best = |lap: &[(Kernel, f64)]| lap.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    let (Some((_, best_before)), Some((winner, rate))) = (best(first), best(second)) else {
        return false;
    };
    let before = first.iter().find(|(kernel, _)| *kernel == winner);
    before.is_some_and(|&(_, before)| is_same(before, rate) && is_same(before, best_before))
}

fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() <= SAME * a.max(b)
}

#[cfg(test)]
mod tests;
