//! The shader on one device: what is created once, and the dispatches in flight.

use std::time::{Duration, Instant};

use wgpu::BufferUsages as Usage;

use super::form::{self, ENTRY_POINT};
use super::layout::{Batch, Findings, Job};
use super::{Adapter, Fault, Form};
use crate::device::DeviceError;

/// How many dispatches may be in flight: one that runs, and one that is there when it ends. More would only make
/// a search that comes wait longer.
pub(super) const IN_FLIGHT: usize = 2;
/// How long to wait for a dispatch, which is meant to take 0.25 s at most. After as long Linux resets an AMD
/// card.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The compiled shader and its buffers.
pub(super) struct Program {
    pub(super) device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    /// The shader's `found`, which stays from dispatch to dispatch.
    found: wgpu::Buffer,
    /// What each dispatch in flight has for itself; they take turns.
    frames: [Frame; IN_FLIGHT],
    /// How many dispatches were ever submitted, and how many of them were waited for.
    submitted: usize,
    completed: usize,
    /// When the last one was done, as the host saw it.
    last_done: Instant,
    fault: Fault,
    /// How long to wait for a dispatch.
    pub(super) timeout: Duration,
}

/// What a dispatch in flight has for itself.
struct Frame {
    batch: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
    /// A copy of `found` and of the clock that the host can read. Not mapped unless in flight.
    readback: wgpu::Buffer,
    clock: Option<Clock>,
    submission: Option<(wgpu::SubmissionIndex, Instant)>,
}

/// The device's own time at the beginning and the end of a dispatch.
struct Clock {
    queries: wgpu::QuerySet,
    ticks: wgpu::Buffer,
    nanoseconds_per_tick: f32,
}

/// What a dispatch came to.
pub(super) struct Report {
    /// What is known of the searches, by their places.
    pub(super) found: Findings,
    /// How long it took, by the device's own clock where it has one.
    pub(super) elapsed: Duration,
    /// The same where that clock said it.
    pub(super) by_device: Option<Duration>,
}

const FOUND_SIZE: u64 = size_of::<Findings>() as u64;
const TICKS_SIZE: u64 = size_of::<[u64; 2]>() as u64;

impl Program {
    /// Compiles this form of the shader for the adapter. What goes wrong now or later outside of a call, as
    /// when the driver gives the device up, is left in `fault`.
    pub(super) fn new(adapter: &Adapter, form: Form, fault: &Fault) -> Result<Self, DeviceError> {
        let (device, queue) = request_device(adapter, form, fault)?;
        let layout = bind_group_layout(&device);
        let pipeline = compile(&device, &layout, form)?;
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
            timeout: TIMEOUT,
        })
    }

    /// Submits a dispatch of these jobs, on top of fewer than [`IN_FLIGHT`].
    ///
    /// After an error the program must not be used again.
    pub(super) fn submit(&mut self, jobs: &[Job]) -> Result<(), DeviceError> {
        let most = self.device.limits().max_compute_workgroups_per_dimension;
        let (batch, workgroups) = Batch::new(jobs, most);
        let frame = &mut self.frames[self.submitted % IN_FLIGHT];
        self.queue
            .write_buffer(&frame.batch, 0, bytemuck::bytes_of(&batch));
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
        if let Some(Clock { queries, ticks, .. }) = &frame.clock {
            encoder.resolve_query_set(queries, 0..2, ticks, 0);
            encoder.copy_buffer_to_buffer(ticks, 0, &frame.readback, FOUND_SIZE, TICKS_SIZE);
        }
        // Should the mapping fail, reading what is mapped will tell.
        encoder.map_buffer_on_submit(&frame.readback, wgpu::MapMode::Read, .., |_| ());
        let commands = encoder.finish();
        // Before the call, in which the dispatch may begin and end.
        let submitted_at = Instant::now();
        frame.submission = Some((self.queue.submit([commands]), submitted_at));
        self.submitted += 1;
        check(&self.fault)
    }

    /// Waits for the dispatch that was submitted first of those in flight.
    ///
    /// After an error the program must not be used again.
    pub(super) fn complete(&mut self) -> Result<Report, DeviceError> {
        let frame = &mut self.frames[self.completed % IN_FLIGHT];
        let Some((submission, submitted_at)) = frame.submission.take() else {
            return Err(DeviceError::Driver("no dispatch is in flight".to_owned()));
        };
        self.device
            .poll(wgpu::PollType::Wait {
                submission_index: Some(submission),
                timeout: Some(self.timeout),
            })
            .map_err(|error| poll_error(&error, self.timeout))?;
        check(&self.fault)?;
        let done = Instant::now();
        // It began when it was submitted, or when the one before it was done.
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
        let polled = self.device.poll(wgpu::PollType::Wait {
            submission_index: None,
            timeout: Some(self.timeout),
        });
        polled
            .map(|_| ())
            .map_err(|error| poll_error(&error, self.timeout))
    }

    /// Whether no dispatch is in flight. Does not wait.
    pub(super) fn is_idle(&self) -> bool {
        matches!(
            self.device.poll(wgpu::PollType::Poll),
            Ok(wgpu::PollStatus::QueueEmpty)
        )
    }

    /// Lets wgpu tell the fault of a loss that it knows of and has not told yet. Does not wait.
    pub(super) fn hear_of_loss(&self) -> Result<(), DeviceError> {
        let polled = self.device.poll(wgpu::PollType::Poll);
        polled.map(|_| ()).map_err(driver_error)
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
        let batch = buffer(
            "batch",
            size_of::<Batch>() as u64,
            Usage::UNIFORM | Usage::COPY_DST,
        );
        let entries = [(0, &batch), (1, found)].map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout,
            entries: &entries,
        });
        let has_clock = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let clock = has_clock.then(|| Clock {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            ticks: buffer("ticks", TICKS_SIZE, Usage::QUERY_RESOLVE | Usage::COPY_SRC),
            nanoseconds_per_tick: queue.get_timestamp_period(),
        });
        Self {
            batch,
            bind_group,
            readback: buffer(
                "readback",
                FOUND_SIZE + TICKS_SIZE,
                Usage::MAP_READ | Usage::COPY_DST,
            ),
            clock,
            submission: None,
        }
    }
}

impl Clock {
    fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// The time between the two ticks in `bytes`.
    fn elapsed(&self, bytes: &[u8]) -> Option<Duration> {
        let [begin, end]: [u64; 2] = bytemuck::pod_read_unaligned(bytes);
        let ticks = end.checked_sub(begin)?;
        let nanoseconds = ticks as f64 * f64::from(self.nanoseconds_per_tick);
        Duration::try_from_secs_f64(nanoseconds / 1e9).ok()
    }
}

/// Whether a dispatch can have taken as long as the device's clock says, when the host saw it take `by_host`, and
/// it was in flight for `in_flight`. Dispatches are sized by this, so a clock that stands still, leaps or counts in
/// other units must not make one endless.
fn is_credible(by_device: Duration, by_host: Duration, in_flight: Duration) -> bool {
    // Of a short one, most of what the host saw may be its own.
    let is_short = by_host < Duration::from_millis(10);
    !by_device.is_zero() && by_device <= in_flight && (is_short || by_device >= by_host / 4)
}

fn request_device(
    adapter: &Adapter,
    form: Form,
    fault: &Fault,
) -> Result<(wgpu::Device, wgpu::Queue), DeviceError> {
    let useful = adapter.handle().features() & wgpu::Features::TIMESTAMP_QUERY;
    let (device, queue) =
        pollster::block_on(adapter.handle().request_device(&wgpu::DeviceDescriptor {
            required_features: form.features() | useful,
            required_limits: adapter.handle().limits(),
            ..Default::default()
        }))
        .map_err(driver_error)?;
    // Both before anything is created: without a handler wgpu panics at an error, and a loss is told once.
    let (errors, losses) = (fault.clone(), fault.clone());
    device.on_uncaptured_error(std::sync::Arc::new(move |error| {
        let _ = errors.set(uncaptured(&error));
    }));
    device.set_device_lost_callback(move |reason, message| {
        let _ = losses.set(DeviceError::Lost(format!("{reason:?}: {message}")));
    });
    Ok((device, queue))
}

/// The bindings that the shader declares. Stated, since wgpu does not look into SPIR-V to find them out.
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
                size_of::<Batch>() as u64,
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
    form: Form,
) -> Result<wgpu::ComputePipeline, DeviceError> {
    let loaded =
        form::load(device, form).map_err(|error| DeviceError::Shader(error.to_string()))?;
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(bindings)],
        immediate_size: 0,
    });
    Ok(
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("work"),
            layout: Some(&layout),
            module: &loaded.module,
            entry_point: Some(ENTRY_POINT),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: loaded.constants,
                ..Default::default()
            },
            cache: None,
        }),
    )
}

/// The fault, if there is one.
fn check(fault: &Fault) -> Result<(), DeviceError> {
    fault.get().cloned().map_or(Ok(()), Err)
}

/// What wgpu tells outside of a call.
fn uncaptured(error: &wgpu::Error) -> DeviceError {
    match error {
        wgpu::Error::OutOfMemory { .. } => DeviceError::OutOfMemory,
        wgpu::Error::Validation { .. } | wgpu::Error::Internal { .. } => driver_error(error),
    }
}

fn poll_error(error: &wgpu::PollError, timeout: Duration) -> DeviceError {
    match error {
        wgpu::PollError::Timeout => DeviceError::Hung(timeout),
        wgpu::PollError::WrongSubmissionIndex(..) => driver_error(error),
    }
}

fn driver_error(error: impl ToString) -> DeviceError {
    DeviceError::Driver(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_without_memory_is_told_apart() {
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

    #[test]
    fn a_clock_that_cannot_be_right_is_not_believed() {
        let milliseconds = Duration::from_millis;
        for (by_device, by_host, in_flight, credible) in [
            (20, 20, 40, true),
            // Another program had the card for a while.
            (20, 60, 80, true),
            // The one before was seen late.
            (20, 15, 40, true),
            (1, 5, 5, true),
            (0, 20, 40, false),
            (41, 20, 40, false),
            (2, 20, 40, false),
        ] {
            let [by_device, by_host, in_flight] = [by_device, by_host, in_flight].map(milliseconds);
            assert_eq!(
                is_credible(by_device, by_host, in_flight),
                credible,
                "{by_device:?} {by_host:?} {in_flight:?}"
            );
        }
    }
}
