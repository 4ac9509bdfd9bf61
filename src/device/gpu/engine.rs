//! The engine of a card.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::clock::BusyTime;
use super::hung;
use super::kernel::Kernel;
use super::layout::{self, Dispatch, GpuSlice};
use super::program::{self, Fault, Program};
use super::progress::Step;
use super::searches::Searches;
use super::sizing::Sizing;
use super::spread::Grid;
use crate::device::engine::{Capacity, Engine};
use crate::device::error::{DeviceError, catch_panic};
use crate::device::slice::{NonceRange, Searched, Slice, StopFlag};
use crate::work::{Rule, Target, Threshold};

/// The most invocations that a device is assumed to run side by side.
const WIDEST: u32 = 1 << 20;

/// One kernel on one adapter.
///
/// After an error every call returns the same error again.
pub(super) struct GpuEngine {
    /// The adapter's label.
    label: String,
    /// `None` only after a fault, or while the engine is dropped.
    program: Option<Program>,
    fault: Fault,
    sizing: Sizing,
    grid: Grid,
    busy: BusyTime,
    searches: Searches,
    /// The batches in flight, the oldest first: the number of each slice's search, and its nonces.
    in_flight: VecDeque<Vec<(u32, NonceRange)>>,
}

impl fmt::Debug for GpuEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuEngine")
            .field("fault", &self.fault)
            .field("sizing", &self.sizing)
            .field("grid", &self.grid)
            .finish_non_exhaustive()
    }
}

impl GpuEngine {
    /// Compiles the kernel for the adapter with this label, and runs it once. Calls `at` at the beginning of each step.
    pub(super) fn new(
        label: &str,
        adapter: &wgpu::Adapter,
        kernel: Kernel,
        at: &dyn Fn(Step),
    ) -> Result<Self, DeviceError> {
        let fault = Fault::default();
        let program = catch_panic(|| Program::new(adapter, kernel, &fault, at))?;
        let grid = Grid {
            most_workgroups: program.most_workgroups(),
            width: WIDEST,
        };
        let busy = BusyTime::new(program.has_clock());
        at(Step::Prove);
        let mut engine = Self {
            label: label.to_owned(),
            program: Some(program),
            fault,
            sizing: Sizing::default(),
            grid,
            busy,
            searches: Searches::default(),
            in_flight: VecDeque::new(),
        };
        engine.learn_width()?;
        Ok(engine)
    }

    /// Learns how many invocations the device runs side by side: grids grow until one is twice as large as that number.
    ///
    /// These are the kernel's first dispatches, at which drivers finish compiling, and the size of dispatches is not
    /// learned from them.
    fn learn_width(&mut self) -> Result<(), DeviceError> {
        let (mut invocations, mut width) = (1 << 16, 1);
        for _ in 0..4 {
            let begun = self.count_side_by_side(invocations)?;
            width = width.max(begun);
            if begun > invocations / 2 && invocations < WIDEST {
                invocations *= 4;
            }
        }
        self.grid.width = width;
        Ok(())
    }

    /// Runs this many invocations that each find an answer at once. Those that begin before the first answer is known
    /// test a nonce, and all others none. Returns how many did.
    fn count_side_by_side(&mut self, invocations: u32) -> Result<u32, DeviceError> {
        let nonces = NonceRange {
            start: 0,
            count: u64::from(invocations),
        };
        let slice = Slice {
            target: Target::new([0; 32]),
            rule: Threshold::new(u64::MAX).into(),
            nonces,
            stop: StopFlag::default(),
        };
        let search = self.searches.enter(&slice.stop)?;
        let one_by_one = Grid {
            width: WIDEST,
            ..self.grid
        };
        let (dispatch, workgroups) = Dispatch::new(&[GpuSlice::new(&slice, search)], &one_by_one);
        let report = self.attempt(|program| {
            program.submit(&dispatch, workgroups)?;
            program.complete()
        })?;
        let searched = self.searches.leave(search, nonces, &report.found)?;
        Ok(u32::try_from(searched.tried).expect("at most as many as there are"))
    }

    /// Calls `f` with the program, unless there is a fault. An error becomes the fault.
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
        // After the loss of a device wgpu fails or panics in odd ways. The report of the loss explains more.
        let _ = catch_panic(|| program.report_loss());
        if matches!(error, DeviceError::Hung(_)) {
            self.abandon();
        }
        Err(self.fail(error))
    }

    /// Sets the fault, unless there is one. Returns the fault.
    fn fail(&self, error: DeviceError) -> DeviceError {
        self.fault.get_or_init(|| error).clone()
    }

    /// Gives up a program with a dispatch that does not end: dropping it would wait for the end.
    fn abandon(&mut self) {
        if let Some(program) = self.program.take() {
            hung::keep(&self.label, program);
        }
    }
}

impl Engine for GpuEngine {
    fn capacity(&self) -> Capacity {
        Capacity {
            batches: program::IN_FLIGHT,
            searches: layout::MAX_SLICES,
        }
    }

    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        self.sizing.lengths(rules)
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        let mut slices = Vec::with_capacity(batch.len());
        let mut in_flight = Vec::with_capacity(batch.len());
        for mut slice in batch {
            if slice.stop.is_set() {
                slice.nonces.count = 0;
            }
            let search = self.searches.enter(&slice.stop);
            let search = search.map_err(|error| self.fail(error))?;
            in_flight.push((search, slice.nonces));
            slices.push(GpuSlice::new(&slice, search));
        }
        self.in_flight.push_back(in_flight);
        let (dispatch, workgroups) = Dispatch::new(&slices, &self.grid);
        self.attempt(|program| program.submit(&dispatch, workgroups))
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
        self.sizing.observe(tried, report.elapsed);
        self.busy.add(report.by_device, report.elapsed);
        Ok(searched)
    }

    fn time_on_device(&self) -> Option<Duration> {
        self.busy.get()
    }
}

impl Drop for GpuEngine {
    fn drop(&mut self) {
        let Some(program) = &self.program else { return };
        // Dropping a program waits for its dispatches without a timeout, so wait for them with one first.
        if let Err(DeviceError::Hung(_)) = catch_panic(|| program.finish()) {
            return self.abandon();
        }
        let program = self.program.take();
        // The device is no longer needed, so a panic of the driver does not matter.
        let _ = catch_panic(|| {
            drop(program);
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests;
