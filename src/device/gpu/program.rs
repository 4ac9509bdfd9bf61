//! A kernel on one device: its pipeline and buffers, and the dispatches in flight.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use wgpu::BufferUsages as Usage;

use super::clock::{Clock, TICKS_SIZE, is_credible};
use super::kernel::{self, ENTRY_POINT, Kernel};
use super::layout::{Dispatch, Findings};
use super::progress::Step;
use crate::device::error::DeviceError;
use crate::device::stopwatch::Stopwatch;

/// How many dispatches may be in flight: one that runs, and one that starts when it ends. With more, a new search would
/// only wait longer.
pub(super) const IN_FLIGHT: usize = 2;
/// How long to wait for a dispatch, which should take 0.25 s at most. After this time Linux resets an AMD card.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of that time passes before the machine is first checked for being busy.
const SOON: Duration = Duration::from_secs(1);

/// The first error, if there was one. Shared with the callbacks of wgpu.
pub(super) type Fault = Arc<OnceLock<DeviceError>>;

/// The compiled shader and its buffers.
pub(super) struct Program {
    pub(super) device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    /// The shader's `found`, which is kept between dispatches.
    found: wgpu::Buffer,
    /// Used by the dispatches in turn.
    frames: [Frame; IN_FLIGHT],
    /// How many dispatches were submitted, and how many of them are complete.
    submitted: usize,
    completed: usize,
    /// When the host noticed the end of the last one.
    last_done: Instant,
    fault: Fault,
    /// While this is set, no dispatch seems to end.
    #[cfg(test)]
    pub(super) is_stalled: Arc<std::sync::atomic::AtomicBool>,
}

/// The resources of one dispatch in flight.
struct Frame {
    dispatch: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
    /// A copy of `found` and of the clock for the host to read. Mapped only while a dispatch is in flight.
    readback: wgpu::Buffer,
    clock: Option<Clock>,
    submission: Option<(wgpu::SubmissionIndex, Instant)>,
}

/// The result of a dispatch.
pub(super) struct Report {
    /// The state of the search in each slot.
    pub(super) found: Findings,
    /// How long it took, by the device's clock if possible, otherwise by the host's.
    pub(super) elapsed: Duration,
    /// How long it took by the device's clock. `None` if that is unknown or cannot be right.
    pub(super) by_device: Option<Duration>,
}

const FOUND_SIZE: u64 = size_of::<Findings>() as u64;

impl Program {
    /// Compiles the kernel for the adapter. Errors outside of a call, now or later, are stored in `fault`: the loss of
    /// the device, for example. Calls `at` at the beginning of each step.
    pub(super) fn new(
        adapter: &wgpu::Adapter,
        kernel: Kernel,
        fault: &Fault,
        at: &dyn Fn(Step),
    ) -> Result<Self, DeviceError> {
        at(Step::Open);
        let (device, queue) = request_device(adapter, kernel, fault)?;
        at(Step::Compile);
        let layout = bind_group_layout(&device);
        let pipeline = compile(&device, &layout, kernel)?;
        let found = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("found"),
            size: FOUND_SIZE,
            usage: Usage::STORAGE | Usage::COPY_SRC,
            mapped_at_creation: false,
        });
        let frames = std::array::from_fn(|_| Frame::new(&device, &queue, &layout, &found));
        check(fault)?;
        Ok(Self {
            device,
            queue,
            pipeline,
            found,
            frames,
            submitted: 0,
            completed: 0,
            last_done: Instant::now(),
            fault: fault.clone(),
            #[cfg(test)]
            is_stalled: Arc::default(),
        })
    }

    /// Whether the device times its dispatches.
    pub(super) fn has_clock(&self) -> bool {
        self.frames.iter().all(|frame| frame.clock.is_some())
    }

    /// The most workgroups of a dispatch.
    pub(super) fn most_workgroups(&self) -> u32 {
        self.device.limits().max_compute_workgroups_per_dimension
    }

    /// Submits a dispatch of this many workgroups. Fewer than [`IN_FLIGHT`] dispatches must be in flight.
    ///
    /// After an error the program must not be used again.
    pub(super) fn submit(
        &mut self,
        dispatch: &Dispatch,
        workgroups: u32,
    ) -> Result<(), DeviceError> {
        let frame = &mut self.frames[self.submitted % IN_FLIGHT];
        self.queue
            .write_buffer(&frame.dispatch, 0, bytemuck::bytes_of(dispatch));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: frame.clock.as_ref().map(Clock::writes),
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &frame.bind_group, &[]);
        pass.dispatch_workgroups(workgroups, 1, 1);
        drop(pass);
        encoder.copy_buffer_to_buffer(&self.found, 0, &frame.readback, 0, FOUND_SIZE);
        if let Some(clock) = &frame.clock {
            clock.copy_to(&mut encoder, &frame.readback, FOUND_SIZE);
        }
        // If the mapping fails, so does reading the mapped range.
        encoder.map_buffer_on_submit(&frame.readback, wgpu::MapMode::Read, .., |_| ());
        let commands = encoder.finish();
        // Taken before the call, since the dispatch may begin and end within it.
        let submitted_at = Instant::now();
        frame.submission = Some((self.queue.submit([commands]), submitted_at));
        self.submitted += 1;
        check(&self.fault)
    }

    /// Waits for the oldest dispatch in flight.
    ///
    /// After an error the program must not be used again.
    pub(super) fn complete(&mut self) -> Result<Report, DeviceError> {
        let index = self.completed % IN_FLIGHT;
        let Some((submission, submitted_at)) = self.frames[index].submission.take() else {
            return Err(DeviceError::Driver("no dispatch is in flight".to_owned()));
        };
        self.wait(Some(submission))?;
        check(&self.fault)?;
        let frame = &self.frames[index];
        let done = Instant::now();
        // It began when it was submitted, or when the dispatch before it ended.
        let by_host = done - submitted_at.max(self.last_done);
        self.last_done = done;
        self.completed += 1;
        let bytes = frame.readback.get_mapped_range(..).map_err(driver_error)?;
        let (found, ticks) = bytes.split_at(size_of::<Findings>());
        let by_device = frame.clock.as_ref().and_then(|clock| clock.elapsed(ticks));
        let by_device = by_device.filter(|&time| is_credible(time, by_host, done - submitted_at));
        let report = Report {
            found: bytemuck::pod_read_unaligned(found),
            elapsed: by_device.unwrap_or(by_host),
            by_device,
        };
        drop(bytes);
        frame.readback.unmap();
        Ok(report)
    }

    /// Waits for all dispatches in flight.
    pub(super) fn finish(&self) -> Result<(), DeviceError> {
        self.wait(None)
    }

    /// Waits for this submission, or for all of them.
    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), DeviceError> {
        #[cfg(test)]
        if self.is_stalled.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(DeviceError::Hung(TIMEOUT));
        }
        let wait = |timeout| {
            let polled = self.poll(wgpu::PollType::Wait {
                submission_index: submission_index.clone(),
                timeout: Some(timeout),
            });
            match polled {
                Ok(_) => Some(Ok(())),
                Err(wgpu::PollError::Timeout) => None,
                Err(error) => Some(Err(driver_error(error))),
            }
        };
        if let Some(ended) = wait(SOON) {
            return ended;
        }
        // Begun only now: beginning takes longer than a small dispatch.
        let mut watch = Stopwatch::begin();
        loop {
            let left = watch.wait_for(TIMEOUT - SOON);
            if let Some(ended) = wait(left) {
                return ended;
            }
            if left.is_zero() {
                return Err(DeviceError::Hung(TIMEOUT));
            }
        }
    }

    /// Whether no dispatch is in flight. Does not wait.
    pub(super) fn is_idle(&self) -> bool {
        let polled = self.poll(wgpu::PollType::Poll);
        matches!(polled, Ok(wgpu::PollStatus::QueueEmpty))
    }

    /// Lets wgpu report a loss of the device that it has noticed but not reported. Does not wait.
    pub(super) fn report_loss(&self) -> Result<(), DeviceError> {
        let polled = self.poll(wgpu::PollType::Poll);
        polled.map(|_| ()).map_err(driver_error)
    }

    fn poll(&self, poll: wgpu::PollType) -> Result<wgpu::PollStatus, wgpu::PollError> {
        #[cfg(test)]
        if self.is_stalled.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(wgpu::PollStatus::Poll);
        }
        self.device.poll(poll)
    }
}

impl Frame {
    fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        layout: &wgpu::BindGroupLayout,
        found: &wgpu::Buffer,
    ) -> Self {
        let buffer = |label, size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let dispatch = buffer(
            "dispatch",
            size_of::<Dispatch>() as u64,
            Usage::UNIFORM | Usage::COPY_DST,
        );
        let entries = [(0, &dispatch), (1, found)].map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout,
            entries: &entries,
        });
        Self {
            dispatch,
            bind_group,
            readback: buffer(
                "readback",
                FOUND_SIZE + TICKS_SIZE,
                Usage::MAP_READ | Usage::COPY_DST,
            ),
            clock: Clock::new(device, queue),
            submission: None,
        }
    }
}

fn request_device(
    adapter: &wgpu::Adapter,
    kernel: Kernel,
    fault: &Fault,
) -> Result<(wgpu::Device, wgpu::Queue), DeviceError> {
    let optional = adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: kernel.features() | optional,
        required_limits: adapter.limits(),
        // The buffers have some 30 KB. By default each kernel of the race would take 256 MB for them.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    }))
    .map_err(driver_error)?;
    // Before anything is created: without a handler wgpu panics at an error, and it reports a loss only once.
    let (errors, losses) = (fault.clone(), fault.clone());
    device.on_uncaptured_error(Arc::new(move |error| {
        let _ = errors.set(uncaptured(&error));
    }));
    device.set_device_lost_callback(move |reason, message| {
        let _ = losses.set(DeviceError::Lost(format!("{reason:?}: {message}")));
    });
    Ok((device, queue))
}

/// The shader's bindings. wgpu cannot derive them from SPIR-V.
fn bind_group_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding, ty, size| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: std::num::NonZeroU64::new(size),
        },
        count: None,
    };
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &[
            entry(
                0,
                wgpu::BufferBindingType::Uniform,
                size_of::<Dispatch>() as u64,
            ),
            entry(
                1,
                wgpu::BufferBindingType::Storage { read_only: false },
                FOUND_SIZE,
            ),
        ],
    })
}

fn compile(
    device: &wgpu::Device,
    bindings: &wgpu::BindGroupLayout,
    kernel: Kernel,
) -> Result<wgpu::ComputePipeline, DeviceError> {
    let module =
        kernel::load(device, kernel).map_err(|error| DeviceError::Shader(error.to_string()))?;
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(bindings)],
        immediate_size: 0,
    });
    Ok(
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("work"),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(ENTRY_POINT),
            compilation_options: Default::default(),
            cache: None,
        }),
    )
}

/// The fault, if there is one.
fn check(fault: &Fault) -> Result<(), DeviceError> {
    fault.get().cloned().map_or(Ok(()), Err)
}

/// An error that wgpu reports outside of a call.
fn uncaptured(error: &wgpu::Error) -> DeviceError {
    match error {
        wgpu::Error::OutOfMemory { .. } => DeviceError::OutOfMemory,
        wgpu::Error::Validation { .. } | wgpu::Error::Internal { .. } => driver_error(error),
    }
}

fn driver_error(error: impl ToString) -> DeviceError {
    DeviceError::Driver(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_is_an_error_of_its_own() {
        let source = || Box::new(std::fmt::Error);
        let out_of_memory = wgpu::Error::OutOfMemory { source: source() };
        assert_eq!(uncaptured(&out_of_memory), DeviceError::OutOfMemory);
        let other = wgpu::Error::Internal {
            source: source(),
            description: "the driver is confused".to_owned(),
        };
        let error = uncaptured(&other);
        assert!(matches!(error, DeviceError::Driver(_)), "{error:?}");
        assert!(error.to_string().contains("confused"), "{error}");
    }
}
