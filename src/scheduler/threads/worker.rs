//! The thread that owns one engine: take a batch of searches, test a slice of each, verify, answer.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::device::{
    Backend, Device, DeviceError, DeviceInfo, Engine, Searched, Slice, catch_panic, self_test,
};
use crate::scheduler::fleet::{DeviceRecord, EngineState, Recovery, Role};
use crate::scheduler::job::Job;
use crate::scheduler::queue::{Assigned, Batch};
use crate::scheduler::shared::Shared;
use crate::scheduler::state::{Done, Next};
use crate::work::Work;

/// A search on the processor is this many `nice` steps below the service, so that probes and requests come first.
const NICENESS: i32 = 10;

/// The lowest priority that a thread can have.
const MAX_NICENESS: i32 = 19;

/// Puts a device to work, a thread for each of its engines. Does nothing if the scheduler has stopped.
///
/// # Errors
///
/// If a thread cannot be started; engines that had one by then serve.
pub(in crate::scheduler) fn start(
    shared: &Arc<Shared>,
    device: Device,
    role: Role,
) -> io::Result<()> {
    let record = DeviceRecord::new(device.info, device.reopen, role, &shared.metrics);
    let record = Arc::new(record);
    shared.metrics.set_kernel_rates(&record.info);
    let DeviceInfo {
        name,
        kernel,
        threads,
        ..
    } = &*record.info;
    tracing::info!(device = name, kernel, threads, "device in service");
    shared.apply(|state| state.fleet.register(&record, role));
    let mut started = Ok(());
    for engine in device.engines {
        let Some(number) = shared.apply(|state| state.enter(&record)) else {
            break;
        };
        match spawn(Arc::clone(shared), Arc::clone(&record), number, engine) {
            Ok(thread) => shared.keep(thread),
            Err(error) => {
                shared.apply(|state| state.retire(number));
                started = Err(error);
                break;
            }
        }
    }
    started
}

fn spawn(
    shared: Arc<Shared>,
    device: Arc<DeviceRecord>,
    number: usize,
    engine: Box<dyn Engine>,
) -> io::Result<JoinHandle<()>> {
    let worker = Worker {
        shared,
        device,
        number,
        on_device: engine.time_on_device(),
        engine,
        last_back: None,
    };
    thread::Builder::new()
        .name(format!("search-{number}"))
        .spawn(move || worker.run())
}

struct Worker {
    shared: Arc<Shared>,
    device: Arc<DeviceRecord>,
    /// The engine's number in the fleet.
    number: usize,
    engine: Box<dyn Engine>,
    /// What the device's own clock has shown, if it has one.
    on_device: Option<Duration>,
    /// When the last batch came back.
    last_back: Option<Instant>,
}

impl Worker {
    fn run(mut self) {
        // A card's thread only waits for the card. If it waited for a core as well, so would the card.
        if self.device.info.backend == Backend::Cpu {
            // On Linux this is the calling thread's priority alone.
            let niceness = (self.shared.niceness + NICENESS).min(MAX_NICENESS);
            if let Err(error) = rustix::process::setpriority_process(None, niceness) {
                tracing::warn!(%error, "cannot lower the priority of the search");
            }
        }
        if let Err(error) = self.serve() {
            self.fail(&error);
        }
    }

    /// Keeps as many batches in flight as the engine takes on, until it is told to end.
    fn serve(&mut self) -> Result<(), DeviceError> {
        loop {
            match self.shared.next(self.number, &*self.engine)? {
                Next::Submit(batch) => {
                    let slices = batch.slices.iter().map(slice).collect();
                    catch_panic(|| self.engine.submit(slices))?;
                }
                Next::Complete(batch) => {
                    let searched = catch_panic(|| self.engine.complete())?;
                    self.completed(&batch, &searched)?;
                }
                Next::ProveAgain => self.prove_again()?,
                Next::End => {
                    self.shared.apply(|state| state.fleet.leave(self.number));
                    return Ok(());
                }
            }
        }
    }

    /// Answers those searches of a batch that have found work.
    fn completed(&mut self, batch: &Batch, searched: &[Searched]) -> Result<(), DeviceError> {
        let now = Instant::now();
        // It only waited while another batch was before it.
        let last_back = self.last_back.replace(now);
        let begun = last_back.map_or(batch.since, |last| last.max(batch.since));
        if searched.len() != batch.slices.len() {
            let (answers, slices) = (searched.len(), batch.slices.len());
            return Err(DeviceError::WrongAnswer(format!(
                "a batch of {slices} slices came back with {answers} answers"
            )));
        }
        let tried = searched.iter().map(|searched| searched.tried).sum();
        self.device.batches.inc();
        self.device.hashes.inc_by(tried);
        let busy = self.busy().unwrap_or(now - begun);
        self.device.busy.inc_by(busy.as_secs_f64());

        let mut is_whole = true;
        let mut answered = Vec::new();
        let mut verdict = Ok(());
        for (Assigned { job, nonces }, searched) in batch.slices.iter().zip(searched) {
            job.tested(searched.tried);
            is_whole &= searched.found.is_some() || searched.tried == nonces.count;
            match verify(job, searched) {
                Ok(None) => {}
                Ok(Some(work)) => {
                    job.found(&self.device.info);
                    answered.push((job, work));
                }
                Err(error) => verdict = Err(error),
            }
        }
        let done = Done {
            tried,
            took: is_whole.then(|| now - begun),
        };
        self.shared.apply(|state| match verdict {
            Ok(()) => state.complete(self.number, batch.slices.len(), done, &answered, now),
            // The batch stays in flight until the engine is lost, so that its other searches learn of that.
            Err(_) => state.answered(&answered, now),
        });
        for (job, work) in answered {
            job.answer(Ok(work));
        }
        verdict
    }

    /// How long the device has worked since the last call, by its own clock.
    fn busy(&mut self) -> Option<Duration> {
        let before = std::mem::replace(&mut self.on_device, self.engine.time_on_device());
        Some(self.on_device?.saturating_sub(before?))
    }

    /// Puts the engine, which has come back late, into service again if it passes the self-test.
    fn prove_again(&mut self) -> Result<(), DeviceError> {
        catch_panic(|| self_test::run(&mut *self.engine))?;
        if self.shared.apply(|state| state.restore(self.number)) {
            tracing::warn!(
                device = self.device.info.name,
                engine = self.number,
                "engine back in service"
            );
        }
        Ok(())
    }

    /// Reports the engine as lost, and has its device reopened if that is needed.
    fn fail(self, error: &DeviceError) {
        let loss = self
            .shared
            .apply(|state| state.lose(self.number, EngineState::Retired, error, Instant::now()));
        let Some(loss) = loss else { return };
        let reopen = self.shared.settle(loss, error);
        // A card must be free before it is opened again. An error of an engine that is lost already is of no use.
        let engine = self.engine;
        let _ = catch_panic(|| {
            drop(engine);
            Ok(())
        });
        if let Some(reopen) = reopen {
            self.shared
                .apply(|state| state.request(Recovery::Reopen(reopen)));
        }
    }
}

/// What the engine is told of its part of a search.
fn slice(assigned: &Assigned) -> Slice {
    let Assigned { job, nonces } = assigned;
    Slice {
        target: *job.request.target(),
        rule: job.request.rule(),
        nonces: *nonces,
        stop: job.ended().clone(),
    }
}

/// The work that was found in a slice, if any was and the search still needs it.
///
/// # Errors
///
/// [`DeviceError::WrongAnswer`] if the reference hash refuses it.
fn verify(job: &Job, searched: &Searched) -> Result<Option<Work>, DeviceError> {
    let Some(nonce) = searched.found.filter(|_| !job.ended().is_set()) else {
        return Ok(None);
    };
    let rule = job.request.rule();
    match Work::verify(nonce, job.request.target(), rule) {
        Some(work) => Ok(Some(work)),
        // Without the target, since errors are logged, traced and shown on the status page.
        None => Err(DeviceError::WrongAnswer(format!(
            "{nonce} is not work under {rule}"
        ))),
    }
}
