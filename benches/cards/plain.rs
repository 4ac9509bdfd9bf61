//! Blake2b as most WGSL code has it, loaded in wgpu's usual way, with nothing of this crate.

use std::fmt::Write;
use std::time::{Duration, Instant};

use wgpu::BufferUsages as Usage;

/// The message schedule of RFC 7693, section 2.7.
const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// The words of the state that each of a round's eight steps mixes.
const STEPS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// The initial state: a digest of eight bytes without a key, 40 bytes of message in one block.
const STATE: [u64; 16] = [
    0x6a09_e667_f2bd_c900,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82f9,
    0x9b05_688c_2b3e_6c1f,
    0xe07c_2654_04be_4294,
    0x5be0_cd19_137e_2179,
];

/// The shader's text.
fn shader() -> String {
    let mut rounds = String::new();
    for (index, word) in STATE.iter().enumerate() {
        let (low, high) = (word & 0xffff_ffff, word >> 32);
        writeln!(rounds, "var v{index} = vec2({low:#x}u, {high:#x}u);").expect("a string");
    }
    for round in 0..12 {
        for (step, [a, b, c, d]) in STEPS.iter().enumerate() {
            for (half, (first, second)) in [(32, 24), (16, 63)].into_iter().enumerate() {
                let word = SIGMA[round % 10][2 * step + half];
                writeln!(rounds, "v{a} = add(v{a}, v{b});").expect("a string");
                if word < 5 {
                    writeln!(rounds, "v{a} = add(v{a}, m{word});").expect("a string");
                }
                writeln!(rounds, "v{d} = {};", rotated(*d, *a, first)).expect("a string");
                writeln!(rounds, "v{c} = add(v{c}, v{d});").expect("a string");
                writeln!(rounds, "v{b} = {};", rotated(*b, *c, second)).expect("a string");
            }
        }
    }
    include_str!("plain.wgsl").replace("ROUNDS", &rounds)
}

/// Two words, one mixed with the other and rotated to the right.
fn rotated(a: usize, b: usize, bits: u32) -> String {
    match bits {
        32 => format!("(v{a} ^ v{b}).yx"),
        63 => format!("rotate_right((v{a} ^ v{b}).yx, 31u)"),
        bits => format!("rotate_right(v{a} ^ v{b}, {bits}u)"),
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Job {
    target: [u64; 4],
    start: u64,
    threshold: u64,
}

/// The shader on a device of its own.
pub(crate) struct Plain {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    job: wgpu::Buffer,
    found: wgpu::Buffer,
    readback: wgpu::Buffer,
    /// Workgroups in a dispatch.
    workgroups: u32,
}

impl Plain {
    /// Opens the adapter of this name.
    pub(crate) fn open(name: &str) -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::VULKAN,
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        let adapter = adapters
            .into_iter()
            .find(|adapter| adapter.get_info().name == name)
            .expect("it was listed before");
        let (device, queue) =
            pollster::block_on(adapter.request_device(&Default::default())).expect("it opens");
        let source = wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(shader().into()),
        };
        // SAFETY: the shader has no array, no loop and no division.
        #[expect(unsafe_code, reason = "the checks would be a part of what is compared")]
        let module = unsafe {
            device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked())
        };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("search"),
            compilation_options: Default::default(),
            cache: None,
        });
        let buffer = |size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let job = buffer(size_of::<Job>() as u64, Usage::UNIFORM | Usage::COPY_DST);
        let found = buffer(16, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST);
        let readback = buffer(16, Usage::MAP_READ | Usage::COPY_DST);
        let entries = [(0, &job), (1, &found)].map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut plain = Self {
            device,
            queue,
            pipeline,
            bind_group,
            job,
            found,
            readback,
            workgroups: 1,
        };
        plain.check();
        plain.find_pace();
        plain
    }

    /// Asserts that it finds a known answer: a comparison with a wrong hash would mean nothing.
    fn check(&self) {
        use atto_work_server::work::{Nonce, Target, digest};
        let target = Target::new([7; 32]);
        let nonces = (0..64).map(|nonce| (digest(Nonce::new(nonce), &target).get(), nonce));
        let (threshold, best) = nonces.min().expect("there are some");
        let job = Job {
            target: target.words(),
            start: 0,
            threshold,
        };
        assert_eq!(self.dispatch(&job), Some(best));
        let job = Job {
            threshold: threshold - 1,
            ..job
        };
        assert_eq!(self.dispatch(&job), None);
    }

    /// Makes a dispatch as long as the device allows, up to 50 ms.
    fn find_pace(&mut self) {
        while self.workgroups < 1 << 15 {
            let started = Instant::now();
            self.dispatch(&Job {
                target: [7; 4],
                start: 0,
                threshold: 0,
            });
            if started.elapsed() > Duration::from_millis(50) {
                break;
            }
            self.workgroups *= 2;
        }
    }

    /// Hashes a second.
    pub(crate) fn rate(&mut self, duration: Duration) -> f64 {
        let started = Instant::now();
        let mut hashes = 0;
        while started.elapsed() < duration {
            let job = Job {
                target: [7; 4],
                start: hashes,
                threshold: 0,
            };
            assert_eq!(self.dispatch(&job), None);
            hashes += u64::from(self.workgroups) * 64;
        }
        hashes as f64 / started.elapsed().as_secs_f64()
    }

    fn dispatch(&self, job: &Job) -> Option<u64> {
        self.queue
            .write_buffer(&self.job, 0, bytemuck::bytes_of(job));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.found, 0, None);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.workgroups, 1, 1);
        drop(pass);
        encoder.copy_buffer_to_buffer(&self.found, 0, &self.readback, 0, 16);
        encoder.map_buffer_on_submit(&self.readback, wgpu::MapMode::Read, .., |_| ());
        self.queue.submit([encoder.finish()]);
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device works");
        let bytes = self.readback.get_mapped_range(..).expect("it is mapped");
        let [claims, nonce]: [u64; 2] = bytemuck::pod_read_unaligned(&bytes);
        drop(bytes);
        self.readback.unmap();
        (claims != 0).then_some(nonce)
    }
}
