//! The search on graphics cards, through Vulkan. The only module that knows wgpu.
//!
//! [`adapters`] lists what there is, a [`Selection`] picks from it, and [`open`] makes one [`Device`] of an
//! [`Adapter`]. Its one engine runs `shaders/work.wgsl`: a slice is a dispatch, submitted, waited for and read
//! back before the next. The host's part of a dispatch is about 0.1 ms, which a slice of some 25 ms hides.
//!
//! A driver may refuse, hang, give its device up or panic in its binding. All of that leaves this module as a
//! [`DeviceError`], and the first such error is the engine's last word: it repeats it from then on. To try
//! again, list the adapters anew and open one of them.

mod adapter;
pub mod driver;
mod layout;
pub mod obstacle;
mod pace;
mod program;
mod selection;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub use adapter::{Adapter, AdapterInfo, AdapterKind, adapters};
pub use layout::Form;
pub use selection::{Chosen, Selection, SelectionError, SoftwareAdapters};

use super::{
    Backend, Device, DeviceError, DeviceInfo, Engine, NonceRange, Searched, Slice, catch_panic,
    self_test,
};
use crate::work::{Nonce, Threshold};
use layout::Job;
use pace::Pace;
use program::Program;

/// Opens the adapter with the form of the shader that its [`AdapterInfo::form`] names.
///
/// Returns once the shader is compiled, the card has run it once, and the self-test has passed: a second or
/// so on a software adapter.
///
/// # Errors
///
/// [`DeviceError`] if the driver fails, or the device fails its self-test.
pub fn open(adapter: &Adapter) -> Result<Device, DeviceError> {
    open_as(adapter, adapter.info().form)
}

/// Opens the adapter with this form of the shader.
///
/// # Errors
///
/// As [`open`]; also [`DeviceError::Driver`] if the adapter does not have what the form needs.
pub fn open_as(adapter: &Adapter, form: Form) -> Result<Device, DeviceError> {
    let mut engine = GpuEngine::new(adapter, form)?;
    self_test::run(&mut engine)?;
    Ok(Device {
        info: DeviceInfo {
            name: adapter.info().label.clone(),
            backend: Backend::Gpu,
            kernel: form.to_string(),
            threads: 1,
            trials: Vec::new(),
        },
        engines: vec![Box::new(engine)],
        reopen: None,
    })
}

/// What went wrong first, if anything did. Shared with the callbacks of wgpu.
type Fault = Arc<OnceLock<DeviceError>>;

/// One card, or what Vulkan takes for one.
struct GpuEngine {
    /// Gone only once the fault is set, or when the engine is dropped.
    program: Option<Program>,
    fault: Fault,
    pace: Pace,
    batch: Vec<Slice>,
}

impl fmt::Debug for GpuEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuEngine")
            .field("fault", &self.fault)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl GpuEngine {
    fn new(adapter: &Adapter, form: Form) -> Result<Self, DeviceError> {
        let fault = Fault::default();
        let program = catch_panic(|| Program::new(adapter, form, &fault))?;
        let mut engine = Self {
            program: Some(program),
            fault,
            pace: Pace::default(),
            batch: Vec::new(),
        };
        // Drivers put off a part of their compiling until the first dispatch, so it is run here, where it says
        // nothing about the pace. Its answer is of no interest.
        engine.dispatch(&Job {
            count: 1,
            ..Job::default()
        })?;
        Ok(engine)
    }

    /// Runs the shader once and says what it reported.
    fn dispatch(&mut self, job: &Job) -> Result<Option<Nonce>, DeviceError> {
        if let Some(error) = self.fault.get() {
            return Err(error.clone());
        }
        let program = self
            .program
            .as_mut()
            .expect("the fault is set before the program is gone");
        let error = match catch_panic(|| program.dispatch(job)) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        // A driver that gives the device up makes wgpu fail or panic in odd ways: its own word says more.
        let _ = catch_panic(|| program.hear_of_loss());
        if matches!(error, DeviceError::Hung(_)) {
            // Dropping the program would wait for the dispatch that does not end.
            std::mem::forget(self.program.take());
        }
        Err(self.fault.get_or_init(|| error).clone())
    }

    /// Cuts a slice that is longer than [`Engine::lengths`] says into several dispatches.
    fn search(&mut self, slice: &Slice) -> Result<Searched, DeviceError> {
        let NonceRange { start, count } = slice.nonces;
        let mut tried = 0;
        while tried < count && !slice.stop.is_set() {
            let nonces = NonceRange {
                start: start.wrapping_add(tried),
                count: (count - tried).min(self.pace.longest()),
            };
            let part = self.search_part(slice, nonces)?;
            tried += part.tried;
            if part.found.is_some() {
                return Ok(Searched { tried, ..part });
            }
        }
        Ok(Searched { tried, found: None })
    }

    /// Tests a range that is short enough for one dispatch.
    fn search_part(&mut self, slice: &Slice, nonces: NonceRange) -> Result<Searched, DeviceError> {
        let started = Instant::now();
        match self.dispatch(&Job::new(&slice.target, slice.threshold, nonces))? {
            None => {
                self.pace.observe(nonces.count, started.elapsed());
                Ok(Searched {
                    tried: nonces.count,
                    found: None,
                })
            }
            Some(nonce) if nonces.contains(nonce) => Ok(Searched {
                // Those before it, roughly: invocations start in the order of their nonces. More were tested
                // beside it, which nobody counts.
                tried: nonce.get().wrapping_sub(nonces.start) + 1,
                found: Some(nonce),
            }),
            Some(nonce) => Err(DeviceError::WrongAnswer(format!(
                "{nonce:?} is outside {nonces:?}"
            ))),
        }
    }
}

impl Engine for GpuEngine {
    fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64> {
        thresholds
            .iter()
            .map(|&threshold| self.pace.slice_length(threshold))
            .collect()
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        self.batch = batch;
        Ok(())
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        let batch = std::mem::take(&mut self.batch);
        batch.iter().map(|slice| self.search(slice)).collect()
    }
}

impl Drop for GpuEngine {
    fn drop(&mut self) {
        let program = self.program.take();
        // Should the driver fail at this last moment, nobody needs the device any more.
        let _ = catch_panic(|| {
            drop(program);
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::device::StopFlag;
    use crate::work::Target;

    fn engine() -> GpuEngine {
        let adapters = adapters().unwrap();
        let adapter = adapters
            .first()
            .expect("no Vulkan adapter here: install Mesa's lavapipe (mesa-vulkan-drivers)");
        GpuEngine::new(adapter, Form::Pair).unwrap()
    }

    fn search(engine: &mut GpuEngine, count: u64) -> Result<Searched, DeviceError> {
        engine.search(&Slice {
            target: Target::new([0; 32]),
            threshold: Threshold::new(0),
            nonces: NonceRange { start: 0, count },
            stop: StopFlag::default(),
        })
    }

    #[test]
    fn a_lost_device_is_an_error_from_then_on() {
        let mut engine = engine();
        engine.program.as_ref().unwrap().device.destroy();
        let error = search(&mut engine, 1).unwrap_err();
        assert!(matches!(error, DeviceError::Lost(_)), "{error:?}");
        assert_eq!(search(&mut engine, 1), Err(error));
    }

    #[test]
    fn a_dispatch_without_end_is_an_error_and_nobody_waits_for_it() {
        let mut engine = engine();
        let timeout = Duration::ZERO;
        engine.program.as_mut().unwrap().timeout = timeout;
        engine.pace.observe(1 << 20, Duration::from_millis(1));
        let hung = Err(DeviceError::Hung(timeout));
        assert_eq!(search(&mut engine, 1 << 20), hung);
        assert_eq!(search(&mut engine, 1), hung);
        drop(engine);
    }
}
