//! Compiles and tests the kernels of a card, each on a thread that can be left behind.
//!
//! A driver may take a second to compile a kernel, or minutes, or never come back. The likeliest kernels begin first, of
//! each card no more at once than there are cores. Once one is ready, the others have [`Limits::shortest`] or four times as
//! long as it took.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::kernel::Kernel;
use crate::device::error::{DeviceError, catch_panic};
use crate::device::stopwatch::Stopwatch;

/// How long compiling may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most that a kernel may take.
    pub(super) longest: Duration,
    /// Once another kernel is ready, a kernel may take four times as long as that one took, but at least this long.
    pub(super) shortest: Duration,
    /// No kernel begins after this time if another one is ready.
    pub(super) begin: Duration,
    /// How many kernels are compiled at once, at least one.
    pub(super) at_once: usize,
}

impl Limits {
    /// If every kernel but the first hangs, all take at most about twelve seconds longer than the first. `longest`
    /// exceeds the limit of a step, so that a card of which no kernel gets ready is late with a known step.
    pub(super) fn here() -> Self {
        Self {
            longest: Duration::from_secs(12),
            shortest: Duration::from_secs(2),
            begin: Duration::from_secs(8),
            at_once: thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// How long a kernel may take. `fastest` is the time of the fastest kernel that is ready.
    fn patience(self, fastest: Option<Duration>) -> Duration {
        fastest.map_or(self.longest, |fastest| {
            self.longest.min(self.shortest.max(4 * fastest))
        })
    }
}

/// Threads that did not end in time, with the label of their adapter. The same kernel does not begin again while its
/// thread is here: each attempt could only add another one.
static LEFT_BEHIND: Mutex<Vec<(String, Kernel, JoinHandle<()>)>> = Mutex::new(Vec::new());

fn left_behind() -> MutexGuard<'static, Vec<(String, Kernel, JoinHandle<()>)>> {
    let mut threads = LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner);
    threads.retain(|(.., thread)| !thread.is_finished());
    threads
}

/// Calls `prepare` for each of `kernels`, which must be in the order of likelihood. Returns the results of those that
/// began, in the order in which they ended: [`DeviceError::Hung`] for those that were left behind.
pub(super) fn each<E: Send + 'static>(
    label: &str,
    kernels: &[Kernel],
    limits: Limits,
    prepare: impl Fn(Kernel) -> Result<E, DeviceError> + Clone + Send + 'static,
) -> Vec<(Kernel, Result<E, DeviceError>)> {
    let mut started = Stopwatch::begin();
    let (sender, results) = mpsc::channel();
    let mut waiting: VecDeque<_> = kernels.iter().copied().collect();
    let mut running: Vec<(Kernel, Stopwatch, JoinHandle<()>)> = Vec::new();
    let mut ended = Vec::new();
    let mut fastest: Option<Duration> = None;
    loop {
        if fastest.is_some() && started.wait_for(limits.begin).is_zero() {
            for kernel in waiting.drain(..) {
                tracing::warn!(device = label, %kernel, "a kernel was not tried on this card: the time limit was reached");
            }
        }
        while running.len() < limits.at_once.max(1)
            && let Some(kernel) = waiting.pop_front()
        {
            let is_left_behind =
                |(of, which, _): &(String, Kernel, _)| of == label && *which == kernel;
            if left_behind().iter().any(is_left_behind) {
                ended.push((kernel, Err(DeviceError::Hung(limits.longest))));
                continue;
            }
            let (sender, prepare) = (sender.clone(), prepare.clone());
            let begun = thread::Builder::new()
                .name(format!("prepare {kernel}"))
                .spawn(move || {
                    let result = catch_panic(|| prepare(kernel));
                    // Nobody receives the result of a thread that was left behind.
                    let _ = sender.send((kernel, result));
                });
            match begun {
                Ok(thread) => running.push((kernel, Stopwatch::begin(), thread)),
                Err(error) => ended.push((kernel, Err(DeviceError::Driver(error.to_string())))),
            }
        }
        let patience = limits.patience(fastest);
        let waits = running
            .iter_mut()
            .map(|(_, watch, _)| watch.wait_for(patience));
        let Some(wait) = waits.min() else {
            return ended;
        };
        match results.recv_timeout(wait) {
            Ok((kernel, result)) => {
                // Otherwise it comes from a thread that was left behind.
                if let Some(index) = running.iter().position(|(which, ..)| *which == kernel) {
                    let (_, watch, _) = running.swap_remove(index);
                    if result.is_ok() {
                        let took = watch.elapsed();
                        fastest = Some(fastest.map_or(took, |fastest| fastest.min(took)));
                    }
                    ended.push((kernel, result));
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let late =
                    running.extract_if(.., |(_, watch, _)| watch.wait_for(patience).is_zero());
                for (kernel, _, thread) in late {
                    ended.push((kernel, Err(DeviceError::Hung(patience))));
                    left_behind().push((label.to_owned(), kernel, thread));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar};

    use super::*;

    const LIMITS: Limits = Limits {
        longest: Duration::from_secs(60),
        shortest: Duration::from_secs(1),
        begin: Duration::from_secs(60),
        at_once: 2,
    };
    const KERNELS: [Kernel; 3] = [Kernel::U64, Kernel::Pair64, Kernel::Pair];

    /// What a fake compiler waits for.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<bool>, Condvar)>);

    impl Gate {
        fn pass(&self) {
            let (is_open, changed) = &*self.0;
            let mut is_open = is_open.lock().unwrap();
            while !*is_open {
                is_open = changed.wait(is_open).unwrap();
            }
        }

        fn open(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_all();
        }
    }

    /// The result of each kernel, in the order of [`KERNELS`].
    fn outcomes(results: Vec<(Kernel, Result<(), DeviceError>)>) -> Vec<Option<bool>> {
        let of = |kernel| results.iter().find(|(which, _)| *which == kernel);
        let is_ok = |kernel| of(kernel).map(|(_, result)| result.is_ok());
        KERNELS.map(is_ok).to_vec()
    }

    #[test]
    fn a_kernel_that_never_finishes_compiling_is_left_behind_and_the_others_serve() {
        let gate = Gate::default();
        let compiled = Arc::new(AtomicUsize::new(0));
        let prepare = {
            let (gate, compiled) = (gate.clone(), Arc::clone(&compiled));
            move |kernel| {
                compiled.fetch_add(1, Ordering::Relaxed);
                if kernel == Kernel::U64 {
                    gate.pass();
                }
                Ok(())
            }
        };
        let results = each("hangs", &KERNELS, LIMITS, prepare.clone());
        assert_eq!(outcomes(results), [Some(false), Some(true), Some(true)]);
        assert_eq!(compiled.load(Ordering::Relaxed), 3);
        // The thread is still there, so the kernel does not begin again on this card.
        let results = each("hangs", &KERNELS, LIMITS, prepare.clone());
        assert_eq!(outcomes(results), [Some(false), Some(true), Some(true)]);
        assert_eq!(compiled.load(Ordering::Relaxed), 5);
        // When it has ended, it does.
        gate.open();
        while left_behind().iter().any(|(label, ..)| label == "hangs") {
            thread::sleep(Duration::from_millis(1));
        }
        let results = each("hangs", &KERNELS, LIMITS, prepare);
        assert_eq!(outcomes(results), [Some(true); 3]);
    }

    #[test]
    fn kernels_that_all_hang_are_waited_for_no_longer_than_the_limit() {
        let gate = Gate::default();
        let limits = Limits {
            longest: Duration::from_millis(20),
            ..LIMITS
        };
        let hang = gate.clone();
        let results = each("all hang", &KERNELS, limits, move |_| {
            hang.pass();
            Ok(())
        });
        assert_eq!(outcomes(results), [Some(false); 3]);
        gate.open();
    }

    #[test]
    fn kernels_begin_in_their_order_and_no_more_at_once_than_allowed() {
        let limits = Limits {
            at_once: 1,
            ..LIMITS
        };
        let results = each("in order", &KERNELS, limits, |kernel| match kernel {
            Kernel::Pair64 => panic!("a bug of the driver"),
            _ => Ok(kernel),
        });
        let panicked = DeviceError::Panicked("a bug of the driver".to_owned());
        assert_eq!(
            results,
            [
                (Kernel::U64, Ok(Kernel::U64)),
                (Kernel::Pair64, Err(panicked)),
                (Kernel::Pair, Ok(Kernel::Pair))
            ]
        );
    }

    #[test]
    fn no_kernel_begins_late_if_another_one_is_ready() {
        let limits = Limits {
            at_once: 1,
            begin: Duration::ZERO,
            ..LIMITS
        };
        let results = each("late", &KERNELS, limits, |kernel| match kernel {
            Kernel::U64 => Err(DeviceError::OutOfMemory),
            _ => Ok(()),
        });
        assert_eq!(outcomes(results), [Some(false), Some(true), None]);
    }

    #[test]
    fn a_slow_machine_makes_the_limits_longer() {
        let limits = Limits {
            longest: Duration::from_secs(10),
            shortest: Duration::from_secs(2),
            ..LIMITS
        };
        let patience = |seconds: Option<f64>| {
            let fastest = seconds.map(Duration::from_secs_f64);
            limits.patience(fastest).as_secs_f64()
        };
        assert_eq!(
            [None, Some(0.1), Some(1.5), Some(5.0)].map(patience),
            [10.0, 2.0, 6.0, 10.0]
        );
    }
}
