//! The shader on one device: what is created once, and one dispatch.

use std::time::Duration;

use wgpu::BufferUsages as Usage;

use super::form::{self, ENTRY_POINT, INVOCATIONS_PER_WORKGROUP};
use super::layout::{Found, Job};
use super::{Adapter, Fault, Form};
use crate::device::DeviceError;
use crate::work::Nonce;

/// A card runs this many invocations side by side, give or take a half. Fewer nonces than that get an
/// invocation each.
const SIDE_BY_SIDE: u32 = 1 << 16;
/// How many nonces an invocation tests in a large dispatch, if the card's grid is large enough. Enough to
/// make what it prepares once cheap, few enough that it looks often whether another has found.
const NONCES_PER_INVOCATION: u32 = 64;
/// How long to wait for a dispatch, which is meant to take 0.25 s at most. After as long Linux resets an AMD
/// card.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The compiled shader and its buffers.
pub(super) struct Program {
    pub(super) device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    job: wgpu::Buffer,
    found: wgpu::Buffer,
    /// A copy of `found` that the host can read. Not mapped between dispatches.
    readback: wgpu::Buffer,
    fault: Fault,
    /// How long to wait for a dispatch.
    pub(super) timeout: Duration,
}

impl Program {
    /// Compiles this form of the shader for the adapter. What goes wrong now or later outside of a call, as
    /// when the driver gives the device up, is left in `fault`.
    pub(super) fn new(adapter: &Adapter, form: Form, fault: &Fault) -> Result<Self, DeviceError> {
        let (device, queue) = request_device(adapter, form, fault)?;
        let (pipeline, bindings) = compile(&device, form)?;
        let buffer = |label, size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let found_size = size_of::<Found>() as u64;
        let job = buffer(
            "job",
            size_of::<Job>() as u64,
            Usage::UNIFORM | Usage::COPY_DST,
        );
        let found = buffer(
            "found",
            found_size,
            Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST,
        );
        let readback = buffer("readback", found_size, Usage::MAP_READ | Usage::COPY_DST);
        let entries = [(0, &job), (1, &found)].map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &bindings,
            entries: &entries,
        });
        check(fault)?;
        Ok(Self {
            device,
            queue,
            pipeline,
            bind_group,
            job,
            found,
            readback,
            fault: fault.clone(),
            timeout: TIMEOUT,
        })
    }

    /// Tests the nonces of the job and waits for the answer. The job's share is set here.
    ///
    /// After an error the program must not be used again.
    pub(super) fn dispatch(&mut self, job: &Job) -> Result<Option<Nonce>, DeviceError> {
        let limits = self.device.limits();
        let grid = Grid::new(job.count, limits.max_compute_workgroups_per_dimension);
        let mut job = *job;
        job.share = grid.share;
        let submission = self.submit(&job, grid.workgroups);
        self.device
            .poll(wgpu::PollType::Wait {
                submission_index: Some(submission),
                timeout: Some(self.timeout),
            })
            .map_err(|error| match error {
                wgpu::PollError::Timeout => DeviceError::Hung(self.timeout),
                wgpu::PollError::WrongSubmissionIndex(..) => driver_error(error),
            })?;
        check(&self.fault)?;
        let bytes = self.readback.get_mapped_range(..).map_err(driver_error)?;
        let found: Found = bytemuck::pod_read_unaligned(&bytes);
        drop(bytes);
        self.readback.unmap();
        Ok((found.claims != 0).then_some(Nonce::new(found.nonce)))
    }

    /// Lets wgpu tell the fault of a loss that it knows of and has not told yet. Does not wait.
    pub(super) fn hear_of_loss(&self) -> Result<(), DeviceError> {
        let polled = self.device.poll(wgpu::PollType::Poll);
        polled.map(|_| ()).map_err(driver_error)
    }

    fn submit(&self, job: &Job, workgroups: u32) -> wgpu::SubmissionIndex {
        self.queue
            .write_buffer(&self.job, 0, bytemuck::bytes_of(job));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.found, 0, None);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(workgroups, 1, 1);
        drop(pass);
        encoder.copy_buffer_to_buffer(&self.found, 0, &self.readback, 0, self.found.size());
        // Should the mapping fail, reading what is mapped will tell.
        encoder.map_buffer_on_submit(&self.readback, wgpu::MapMode::Read, .., |_| ());
        self.queue.submit([encoder.finish()])
    }
}

/// How the nonces of a job are spread.
#[derive(Debug, PartialEq, Eq)]
struct Grid {
    workgroups: u32,
    /// How many nonces an invocation tests.
    share: u32,
}

impl Grid {
    /// For `count` nonces, at least one, on a device whose grid has at most `most` workgroups.
    fn new(count: u32, most: u32) -> Self {
        let invocations = (count / NONCES_PER_INVOCATION)
            .max(count.min(SIDE_BY_SIDE))
            .min(most.saturating_mul(INVOCATIONS_PER_WORKGROUP));
        let share = count.div_ceil(invocations);
        Self {
            workgroups: count.div_ceil(share).div_ceil(INVOCATIONS_PER_WORKGROUP),
            share,
        }
    }
}

fn request_device(
    adapter: &Adapter,
    form: Form,
    fault: &Fault,
) -> Result<(wgpu::Device, wgpu::Queue), DeviceError> {
    let (device, queue) =
        pollster::block_on(adapter.handle().request_device(&wgpu::DeviceDescriptor {
            required_features: form.features(),
            required_limits: adapter.handle().limits(),
            ..Default::default()
        }))
        .map_err(driver_error)?;
    // Both before anything is created: without a handler wgpu panics at an error, and a loss is told once.
    let (errors, losses) = (fault.clone(), fault.clone());
    device.on_uncaptured_error(std::sync::Arc::new(move |error| {
        let _ = errors.set(driver_error(error));
    }));
    device.set_device_lost_callback(move |reason, message| {
        let _ = losses.set(DeviceError::Lost(format!("{reason:?}: {message}")));
    });
    Ok((device, queue))
}

/// Makes the pipeline and the layout of its only bind group.
fn compile(
    device: &wgpu::Device,
    form: Form,
) -> Result<(wgpu::ComputePipeline, wgpu::BindGroupLayout), DeviceError> {
    let loaded =
        form::load(device, form).map_err(|error| DeviceError::Shader(error.to_string()))?;
    // Stated, since wgpu does not look into SPIR-V to find it out.
    let entry = |binding, ty, size: usize| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: wgpu::BufferSize::new(size as u64),
        },
        count: None,
    };
    let read_write = wgpu::BufferBindingType::Storage { read_only: false };
    let bindings = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &[
            entry(0, wgpu::BufferBindingType::Uniform, size_of::<Job>()),
            entry(1, read_write, size_of::<Found>()),
        ],
    });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&bindings)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("work"),
        layout: Some(&layout),
        module: &loaded.module,
        entry_point: Some(ENTRY_POINT),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: loaded.constants,
            ..Default::default()
        },
        cache: None,
    });
    Ok((pipeline, bindings))
}

/// The fault, if there is one.
fn check(fault: &Fault) -> Result<(), DeviceError> {
    fault.get().cloned().map_or(Ok(()), Err)
}

fn driver_error(error: impl ToString) -> DeviceError {
    DeviceError::Driver(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_as_wide_as_useful_and_never_wider_than_the_device_has() {
        for (count, most, workgroups, share) in [
            (1, 65_535, 1, 1),
            (64, 65_535, 1, 1),
            (65, 65_535, 2, 1),
            // Up to 2^16 nonces have an invocation each; up to 2^22 as many invocations have more nonces each.
            (1 << 16, 65_535, 1 << 10, 1),
            ((1 << 16) + 1, 65_535, 513, 2),
            (1 << 22, 65_535, 1 << 10, 64),
            // Then an invocation has 64 nonces, until the grid ends.
            (1 << 24, 65_535, 1 << 12, 64),
            (1 << 31, 65_535, 65_409, 513),
            (1 << 31, u32::MAX, 1 << 19, 64),
        ] {
            let expected = Grid { workgroups, share };
            assert_eq!(Grid::new(count, most), expected, "{count} of {most}");
            let invocations = u64::from(workgroups * INVOCATIONS_PER_WORKGROUP);
            // Nothing is left out, and the shader's 32 bits hold every offset.
            let covered = invocations * u64::from(share);
            assert!((u64::from(count)..1 << 32).contains(&covered));
        }
    }
}
