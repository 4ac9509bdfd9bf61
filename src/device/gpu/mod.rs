//! The search on graphics cards, through Vulkan. The only module that knows wgpu.
//!
//! [`adapters`] lists what there is, a [`Selection`] picks from it, and [`open`] makes one [`Device`] of an
//! [`Adapter`]. Its one engine runs `shaders/work.wgsl` in the form that is fastest there: a batch of slices is a
//! dispatch, and while one runs the next is in the card's queue, so that it never waits for the host. A search that
//! is answered ends the dispatches that are queued for it on the card itself.
//!
//! A driver may refuse, hang, give its device up or panic in its binding. All of that leaves this module as a
//! [`DeviceError`], and the first such error is the engine's last word: it repeats it from then on. To try
//! again, list the adapters anew and open one of them.

mod adapter;
pub mod driver;
mod form;
mod hung;
mod layout;
pub mod obstacle;
mod pace;
mod program;
mod race;
mod searches;
mod selection;
mod spirv;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

pub use adapter::{Adapter, AdapterInfo, AdapterKind, adapters};
pub use form::{Form, Module};
pub use selection::{Chosen, Selection, SelectionError, SoftwareAdapters};
pub use spirv::SpirvError;

use super::{
    Absent, Backend, Capacity, Device, DeviceError, DeviceInfo, Engine, NonceRange, Opener,
    Searched, Slice, Trial, catch_panic, self_test,
};
use crate::work::Threshold;
use layout::Job;
use pace::Pace;
use program::Program;
use race::Race;
use searches::Searches;

/// Opens the adapter with the form of the shader that is fastest on it, of those that it can run.
///
/// Each is compiled, run once and put through the self-test, and then they race. Takes a second or so on a software
/// adapter. A form that fails is left out and told of.
///
/// # Errors
///
/// [`DeviceError`] if no form works: what the first one fails with.
pub fn open(adapter: &Adapter) -> Result<Device, DeviceError> {
    open_fastest(adapter, &adapter.info().forms)
}

/// Opens the adapter with this form of the shader.
///
/// # Errors
///
/// As [`open`]; also [`DeviceError::Driver`] if the adapter does not have what the form needs.
pub fn open_as(adapter: &Adapter, form: Form) -> Result<Device, DeviceError> {
    open_fastest(adapter, &[form])
}

fn open_fastest(adapter: &Adapter, forms: &[Form]) -> Result<Device, DeviceError> {
    let label = &adapter.info().label;
    let started = Instant::now();
    let mut race = Race::default();
    let mut first_error = None;
    for (form, opened) in open_each(adapter, forms) {
        match opened {
            Ok(engine) => race.enter(form, engine),
            Err(error) => {
                tracing::warn!(device = label, %form, %error, "a form of the shader does not work here");
                first_error.get_or_insert(error);
            }
        }
    }
    let proven = Instant::now();
    let Some((winner, engine, trials)) = race.run() else {
        return Err(first_error
            .unwrap_or_else(|| DeviceError::Driver("the adapter runs no form".to_owned())));
    };
    let rate = |trial: &Trial| {
        let millions = trial.hashes_per_second as f64 / 1e6;
        format!("{} {millions:.1}", trial.kernel)
    };
    tracing::info!(
        device = label,
        kernel = %winner,
        mhs = trials.iter().map(rate).collect::<Vec<_>>().join(", "),
        compile_and_test_ms = milliseconds(proven - started),
        race_ms = milliseconds(proven.elapsed()),
        "the fastest form of the shader is chosen"
    );
    Ok(Device {
        info: device_info(adapter, winner.to_string(), trials),
        engines: vec![Box::new(engine)],
        reopen: Some(opener(adapter)),
    })
}

/// What is to be done about an adapter that cannot be opened now, for this reason.
pub fn absent(adapter: &Adapter, error: DeviceError) -> Absent {
    Absent {
        error,
        info: device_info(adapter, "none".to_owned(), Vec::new()),
        opener: opener(adapter),
    }
}

fn device_info(adapter: &Adapter, kernel: String, trials: Vec<Trial>) -> DeviceInfo {
    DeviceInfo {
        name: adapter.info().label.clone(),
        backend: Backend::Gpu,
        kernel,
        threads: 1,
        trials,
    }
}

fn opener(adapter: &Adapter) -> Opener {
    // Not the adapter itself, which would keep its driver from being started anew.
    let info = adapter.info().clone();
    Opener::new(move || reopen(&info))
}

/// An engine for each form, proven by the self-test: all at once, since a driver may take a second to compile one.
fn open_each(adapter: &Adapter, forms: &[Form]) -> Vec<(Form, Result<GpuEngine, DeviceError>)> {
    let open = |form| {
        let mut engine = GpuEngine::new(adapter, form)?;
        self_test::run(&mut engine)?;
        Ok(engine)
    };
    thread::scope(|scope| {
        let start = |&form: &Form| (form, scope.spawn(move || open(form)));
        let threads: Vec<_> = forms.iter().map(start).collect();
        let finish = |(form, thread): (Form, thread::ScopedJoinHandle<'_, _>)| {
            let panicked = |_| Err(DeviceError::Panicked("while it was opened".to_owned()));
            (form, thread.join().unwrap_or_else(panicked))
        };
        threads.into_iter().map(finish).collect()
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Opens an adapter that was listed before, through a driver that is asked anew.
fn reopen(former: &AdapterInfo) -> Result<Device, DeviceError> {
    hung::clear(&former.label)?;
    let adapters = adapters()?;
    let same = |adapter: &&Adapter| adapter.info().label == former.label;
    let adapter = adapters.iter().find(same).ok_or_else(|| {
        DeviceError::Driver(format!("Vulkan does not list {} any more", former.label))
    })?;
    open(adapter)
}

/// What went wrong first, if anything did. Shared with the callbacks of wgpu.
type Fault = Arc<OnceLock<DeviceError>>;

/// One card, or what Vulkan takes for one, with the shader in one form.
struct GpuEngine {
    /// The adapter's label.
    name: String,
    /// Gone only once the fault is set, or when the engine is dropped.
    program: Option<Program>,
    fault: Fault,
    pace: Pace,
    /// The sum over the batches that are complete, as long as the card's clock could be believed.
    on_device: Option<Duration>,
    searches: Searches,
    /// The batches in flight, the oldest first: each slice's search by its number, and its nonces.
    in_flight: VecDeque<Vec<(u32, NonceRange)>>,
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
            name: adapter.info().label.clone(),
            program: Some(program),
            fault,
            pace: Pace::default(),
            on_device: Some(Duration::ZERO),
            searches: Searches::default(),
            in_flight: VecDeque::new(),
        };
        // Drivers put off a part of their compiling until the first dispatch, so it is run here, where it says
        // nothing about the pace. This job has no nonces, and no search has its number.
        let warm_up = Job {
            search: 1,
            ..Job::default()
        };
        engine.attempt(|program| {
            program.submit(&[warm_up])?;
            program.complete()
        })?;
        Ok(engine)
    }

    /// Does something with the program, unless there was a fault before. What goes wrong becomes the fault.
    fn attempt<T>(
        &mut self,
        f: impl FnOnce(&mut Program) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        if let Some(error) = self.fault.get() {
            return Err(error.clone());
        }
        let program = self
            .program
            .as_mut()
            .expect("the fault is set before the program is gone");
        let error = match catch_panic(|| f(program)) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // A driver that gives the device up makes wgpu fail or panic in odd ways: its own word says more.
        let _ = catch_panic(|| program.hear_of_loss());
        if matches!(error, DeviceError::Hung(_)) {
            self.abandon();
        }
        Err(self.fail(error))
    }

    /// Makes an error the fault, unless there was one before. The engine's last word from then on.
    fn fail(&self, error: DeviceError) -> DeviceError {
        self.fault.get_or_init(|| error).clone()
    }

    /// Gives up a program whose dispatch does not end: dropping it would wait for that without end.
    fn abandon(&mut self) {
        if let Some(program) = self.program.take() {
            hung::keep(&self.name, program);
        }
    }
}

impl Engine for GpuEngine {
    fn capacity(&self) -> Capacity {
        Capacity {
            batches: program::IN_FLIGHT,
            searches: layout::MAX_JOBS,
        }
    }

    fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64> {
        self.pace.lengths(thresholds)
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        let mut slices = Vec::with_capacity(batch.len());
        let mut jobs = Vec::with_capacity(batch.len());
        for mut slice in batch {
            if slice.stop.is_set() {
                slice.nonces.count = 0;
            }
            let search = self.searches.enter(&slice.stop);
            let search = search.map_err(|error| self.fail(error))?;
            slices.push((search, slice.nonces));
            jobs.push(Job::new(&slice, search));
        }
        self.in_flight.push_back(slices);
        self.attempt(|program| program.submit(&jobs))
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        let report = self.attempt(Program::complete)?;
        let slices = self.in_flight.pop_front().unwrap_or_default();
        let searched = slices
            .into_iter()
            .map(|(search, nonces)| self.searches.leave(search, nonces, &report.found))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.fail(error))?;
        let tried = searched.iter().map(|searched| searched.tried).sum();
        self.pace.observe(tried, report.elapsed);
        let sum = self.on_device.zip(report.by_device);
        self.on_device = sum.map(|(before, more)| before + more);
        Ok(searched)
    }

    fn time_on_device(&self) -> Option<Duration> {
        self.on_device
    }
}

impl Drop for GpuEngine {
    fn drop(&mut self) {
        let Some(program) = &self.program else { return };
        // Dropping a program waits for its dispatches, for ever if need be.
        if let Err(DeviceError::Hung(_)) = catch_panic(|| program.finish()) {
            return self.abandon();
        }
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
    use super::*;
    use crate::device::{self, StopFlag};
    use crate::work::Target;

    fn engine() -> GpuEngine {
        let adapters = adapters().unwrap();
        let adapter = adapters
            .first()
            .expect("no Vulkan adapter here: install Mesa's lavapipe (mesa-vulkan-drivers)");
        GpuEngine::new(adapter, Form::Pair).unwrap()
    }

    fn slice(count: u64) -> Slice {
        Slice {
            target: Target::new([0; 32]),
            threshold: Threshold::new(0),
            nonces: NonceRange { start: 0, count },
            stop: StopFlag::default(),
        }
    }

    fn search(engine: &mut GpuEngine, count: u64) -> Result<Searched, DeviceError> {
        device::search(engine, slice(count))
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
    fn a_lost_device_can_be_opened_again_through_a_new_driver() {
        let adapters = adapters().unwrap();
        let adapter = adapters.first().unwrap();
        let mut engine = GpuEngine::new(adapter, Form::Pair).unwrap();
        let reopen = opener(adapter);
        drop(adapters);
        // With two dispatches in flight.
        for _ in 0..2 {
            engine.submit(vec![slice(1 << 16)]).unwrap();
        }
        engine.program.as_ref().unwrap().device.destroy();
        // The first may have been done before.
        let error = engine.complete().and_then(|_| engine.complete());
        let error = error.and_then(|_| search(&mut engine, 1)).unwrap_err();
        assert!(matches!(error, DeviceError::Lost(_)), "{error:?}");
        drop(engine);
        // Another test may have left a dispatch on the same adapter that takes a while.
        let mut device = loop {
            match reopen.open() {
                Err(DeviceError::Hung(_)) => thread::sleep(Duration::from_millis(10)),
                opened => break opened.unwrap(),
            }
        };
        self_test::run(&mut *device.engines[0]).unwrap();
    }

    #[test]
    fn a_card_that_is_gone_for_good_is_an_error_that_says_so() {
        let adapters = adapters().unwrap();
        let mut info = adapters.first().unwrap().info().clone();
        info.label = "NVIDIA L4 (0000:65:00.0)".to_owned();
        let error = reopen(&info).unwrap_err().to_string();
        assert!(
            error.contains("does not list NVIDIA L4 (0000:65:00.0)"),
            "{error}"
        );
    }

    #[test]
    fn a_dispatch_without_end_is_an_error_and_nobody_waits_for_it() {
        let mut engine = engine();
        let timeout = Duration::ZERO;
        engine.program.as_mut().unwrap().timeout = timeout;
        let hung = Err(DeviceError::Hung(timeout));
        assert_eq!(search(&mut engine, LONG), hung);
        assert_eq!(search(&mut engine, 1), hung);
        drop(engine);
    }

    /// So many nonces that no device has tested them before it is asked whether it has.
    const LONG: u64 = 1 << 24;

    #[test]
    fn an_engine_with_a_dispatch_without_end_can_be_dropped_and_its_card_waits_for_that() {
        let mut engine = engine();
        // A name of its own, since other tests have engines that hang.
        engine.name = "a card".to_owned();
        engine.submit(vec![slice(LONG)]).unwrap();
        engine.program.as_mut().unwrap().timeout = Duration::ZERO;
        drop(engine);
        assert!(matches!(hung::clear("a card"), Err(DeviceError::Hung(_))));
        assert_eq!(hung::clear("another card"), Ok(()));
        // It does end here, and then nothing is left of it.
        while hung::clear("a card").is_err() {
            thread::sleep(Duration::from_millis(10));
        }
    }
}
