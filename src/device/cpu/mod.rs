//! The processor: the search in SIMD, on every core that the process may use.

// The macros of the rounds come before the kernels that use them.
#[cfg(target_arch = "x86_64")]
#[macro_use]
mod rounds;

pub mod clock;
mod fastest;
mod kernel;
mod lanes;
mod make;
pub mod probe;
mod search;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use fastest::{Rate, fastest};
pub use kernel::{Kernel, NoSuchKernel};
pub use make::Bound;
use search::Midstate;

use super::engine::Engine;
use super::error::DeviceError;
use super::opened::{Backend, Device, DeviceInfo, Trial};
use super::self_test;
use super::slice::{Searched, Slice};
use crate::milliseconds::milliseconds;
use crate::work::{Nonce, Rule};

/// The device's name.
const NAME: &str = "cpu";

/// How long a slice should keep a core. A new search waits this long at most while others have every core. The scheduler
/// takes a few microseconds per slice, about 0.1 % of this.
const SLICE: Duration = Duration::from_millis(5);

/// How many nonces are tested between two checks of the stop flag: about 20 µs. Once one core has the answer, the others
/// continue for half of that on average. An easy search takes about 500 µs in all.
const STEP: u64 = 1024;

/// Opens the processor with `threads` engines, each proven by the self-test. Without a kernel, the fastest is chosen, which
/// takes about 24 ms for each that the processor has.
///
/// # Errors
///
/// [`DeviceError::WrongAnswer`] if the kernel does not reproduce the known answers.
pub fn open(kernel: Option<Kernel>, threads: NonZeroUsize) -> Result<Device, DeviceError> {
    let kernels = kernel.map_or_else(Kernel::available, |kernel| vec![kernel]);
    let started = Instant::now();
    let (Rate { kernel, .. }, rates) = fastest(&kernels, threads);
    if kernels.len() > 1 {
        let rate = |rate: &Rate| format!("{} {:.1}", rate.kernel, rate.hashes_per_second / 1e6);
        tracing::info!(
            device = NAME,
            %kernel,
            mhs = rates.iter().map(rate).collect::<Vec<_>>().join(", "),
            threads,
            race_ms = milliseconds(started.elapsed()),
            "the fastest kernel of the processor is chosen"
        );
    }
    let mut prototype = CpuEngine::new(kernel);
    self_test::run(&mut prototype)?;
    let engines = (0..threads.get()).map(|_| Box::new(prototype.clone()) as Box<dyn Engine>);
    Ok(Device {
        info: DeviceInfo {
            name: NAME.to_owned(),
            backend: Backend::Cpu,
            kernel: kernel.name().to_owned(),
            threads: threads.get(),
            trials: rates.into_iter().map(Trial::from).collect(),
        },
        engines: engines.collect(),
        reopen: None,
    })
}

impl From<Rate> for Trial {
    fn from(rate: Rate) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a float saturates")]
        let hashes_per_second = rate.hashes_per_second as u64;
        Self {
            kernel: rate.kernel.name().to_owned(),
            hashes_per_second,
        }
    }
}

/// The number of cores that the process may use, by its affinity and its container's quota.
pub fn available_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// One core.
#[derive(Clone, Debug)]
struct CpuEngine {
    kernel: Kernel,
    /// Nonces per [`SLICE`], measured; a multiple of [`STEP`].
    slice_length: u64,
    /// The batch that was submitted; searched by `complete`.
    batch: Vec<Slice>,
}

impl CpuEngine {
    fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            slice_length: STEP,
            batch: Vec::new(),
        }
    }

    /// Sets the length of the next slices, by the time that this many nonces took.
    fn adjust_length(&mut self, tried: u64, took: Duration) {
        let rate = tried as f64 / took.as_secs_f64().max(1e-9);
        let steps = (rate * SLICE.as_secs_f64() / STEP as f64).clamp(1.0, 1e6);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 10^6")]
        let steps = steps as u64;
        self.slice_length = steps * STEP;
    }

    fn search(&mut self, slice: &Slice) -> Searched {
        let started = Instant::now();
        let midstate = Midstate::new(&slice.target, slice.rule);
        let mut tried = 0;
        while tried < slice.nonces.count && !slice.stop.is_set() {
            let start = slice.nonces.start.wrapping_add(tried);
            let count = STEP.min(slice.nonces.count - tried);
            if let Some(nonce) = self.kernel.search(&midstate, start, count) {
                return Searched {
                    tried: tried + nonce.wrapping_sub(start) + 1,
                    found: Some(Nonce::new(nonce)),
                };
            }
            tried += count;
        }
        if tried >= STEP {
            self.adjust_length(tried, started.elapsed());
        }
        Searched { tried, found: None }
    }
}

impl Engine for CpuEngine {
    /// The same for every rule: an answer ends the slice, so a length beyond it costs nothing.
    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        vec![self.slice_length; rules.len()]
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        self.batch = batch;
        Ok(())
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        let batch = std::mem::take(&mut self.batch);
        Ok(batch.iter().map(|slice| self.search(slice)).collect())
    }
}
