//! The processor: SIMD search on every core that the process may use.

// The macros of the rounds come before the kernels that use them.
#[cfg(target_arch = "x86_64")]
#[macro_use]
mod rounds;

pub mod clock;
mod kernel;
mod lanes;
mod search;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

pub use kernel::{Kernel, NoSuchKernel};
use search::Job;

use super::{Backend, Device, DeviceError, DeviceInfo, Engine, Searched, Slice, Trial, self_test};
use crate::work::{Nonce, Threshold};

/// How long a slice should keep a core. An easy search that comes while a hard one has every core waits for the
/// end of a slice; the scheduler takes a few microseconds for each, a tenth of a percent of this.
const SLICE: Duration = Duration::from_millis(5);

/// How many nonces are tested between two looks at the stop flag: some 20 µs. When one core has found, the
/// others go on for half of that on average, and an easy search takes about 500 µs in all.
const STEP: u64 = 1024;

/// Opens the processor with `threads` engines, each proven by the self-test.
///
/// # Errors
///
/// [`DeviceError::WrongAnswer`] if the kernel does not reproduce the known answers.
pub fn open(kernel: Kernel, threads: NonZeroUsize) -> Result<Device, DeviceError> {
    let mut prototype = CpuEngine::new(kernel);
    self_test::run(&mut prototype)?;
    let engines = (0..threads.get()).map(|_| Box::new(prototype.clone()) as Box<dyn Engine>);
    Ok(Device {
        info: DeviceInfo {
            name: "cpu".to_owned(),
            backend: Backend::Cpu,
            kernel: kernel.name().to_owned(),
            threads: threads.get(),
            // So that the first who ask are told how long it takes.
            trials: vec![Trial {
                kernel: kernel.name().to_owned(),
                hashes_per_second: kernel.hashes_per_second(),
            }],
        },
        engines: engines.collect(),
        reopen: None,
    })
}

/// As many threads as the process may use cores: affinity and container quota are taken into account.
pub fn available_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// One core.
#[derive(Clone, Debug)]
struct CpuEngine {
    kernel: Kernel,
    /// Nonces per [`SLICE`], measured; a multiple of [`STEP`].
    slice_length: u64,
    /// What was submitted and is not begun.
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

    /// Sizes the next slice by how long the last one took.
    fn steer(&mut self, tried: u64, took: Duration) {
        let rate = tried as f64 / took.as_secs_f64().max(1e-9);
        let steps = (rate * SLICE.as_secs_f64() / STEP as f64).clamp(1.0, 1e6);
        // Truncation is meant: a slice is a whole number of steps, and 10^6 fits.
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 10^6")]
        let steps = steps as u64;
        self.slice_length = steps * STEP;
    }

    fn search(&mut self, slice: &Slice) -> Searched {
        let started = Instant::now();
        let job = Job::new(&slice.target);
        let mut tried = 0;
        while tried < slice.nonces.count && !slice.stop.is_set() {
            let start = slice.nonces.start.wrapping_add(tried);
            let count = STEP.min(slice.nonces.count - tried);
            if let Some(nonce) = self
                .kernel
                .search(&job, slice.threshold.get(), start, count)
            {
                return Searched {
                    tried: tried + nonce.wrapping_sub(start) + 1,
                    found: Some(Nonce::new(nonce)),
                };
            }
            tried += count;
        }
        if tried >= STEP {
            self.steer(tried, started.elapsed());
        }
        Searched { tried, found: None }
    }
}

impl Engine for CpuEngine {
    /// The same under every threshold: an answer ends a slice at once, so a long one costs nothing.
    fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64> {
        vec![self.slice_length; thresholds.len()]
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
