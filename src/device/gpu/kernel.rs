//! The kernels of a card: the search shader with different kinds of 64-bit word, and how each is loaded.

use std::fmt;

use serde::Serialize;

use super::spirv::{self, SpirvError};

/// The name of the shader's entry point.
pub(super) const ENTRY_POINT: &str = "search";
/// The name of the shader's constant that holds the workgroup size.
const WORKGROUP_SIZE: &str = "WORKGROUP_SIZE";
/// How many invocations a workgroup has: the smallest number that fills the SIMD units of every card. They share no more
/// than the count of what they test, so more of them gain nothing.
pub(super) const INVOCATIONS_PER_WORKGROUP: u32 = 64;
/// The values of all override constants of the shader.
const CONSTANTS: &[(&str, f64)] = &[(WORKGROUP_SIZE, INVOCATIONS_PER_WORKGROUP as f64)];
/// The name of the function whose body [`Kernel::Bitcast`] replaces.
const ADD: &str = "add";

/// A kernel of a card. Kernels differ in the kind of 64-bit word and find the same nonces. Which one is fastest depends on
/// the driver's compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// The device's 64-bit integers. The fastest with NVIDIA's drivers and Mesa's lavapipe.
    U64,
    /// As [`Kernel::Carry`], but in the compiled module the pairs are cast to 64-bit integers and added. WGSL cannot
    /// express this (naga 30 compiles `bitcast<u64>` of a vector wrongly). The fastest on AMD's cards.
    Bitcast,
    /// Pairs of 32-bit integers, whose lower halves are added as 64-bit integers. The fastest on AMD's cards that is all
    /// WGSL.
    Carry,
    /// Pairs of 32-bit integers, which every device has.
    Pair,
}

/// A shader module as wgpu or a driver takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// WGSL. The workgroup size is an override constant, whose default is the size that is used.
    Wgsl(String),
    /// SPIR-V 1.0 for Vulkan, as words, without override constants.
    Spirv(Vec<u32>),
}

impl Kernel {
    /// Every kernel, the one expected to be fastest on most devices first.
    pub const ALL: [Self; 4] = [Self::U64, Self::Bitcast, Self::Carry, Self::Pair];

    /// The name that the command line, `devices`, logs and metrics show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U64 => "u64",
            Self::Bitcast => "bitcast",
            Self::Carry => "carry",
            Self::Pair => "pair",
        }
    }

    /// The shader as it is loaded.
    ///
    /// # Errors
    ///
    /// [`SpirvError`] if SPIR-V cannot be made, which the tests rule out.
    pub fn module(self) -> Result<Module, SpirvError> {
        match self {
            Self::U64 | Self::Carry | Self::Pair => Ok(Module::Wgsl(self.wgsl())),
            Self::Bitcast => self.spirv().map(Module::Spirv),
        }
    }

    /// The shader as SPIR-V 1.0. For a kernel that is loaded as WGSL, this is the module that wgpu makes of it.
    ///
    /// # Errors
    ///
    /// [`SpirvError`] if the translation fails, which the tests rule out.
    pub fn spirv(self) -> Result<Vec<u32>, SpirvError> {
        let words = spirv::translate(&self.wgsl(), ENTRY_POINT, CONSTANTS)?;
        match self {
            Self::U64 | Self::Carry | Self::Pair => Ok(words),
            Self::Bitcast => spirv::add_as_u64(&words, ADD),
        }
    }

    /// The shader's WGSL: the prelude that defines the word, and the search.
    pub(super) fn wgsl(self) -> String {
        let prelude = match self {
            Self::U64 => include_str!("../../../shaders/word_u64.wgsl"),
            Self::Bitcast | Self::Carry => include_str!("../../../shaders/word_carry.wgsl"),
            Self::Pair => include_str!("../../../shaders/word_pair.wgsl"),
        };
        [prelude, include_str!("../../../shaders/work.wgsl")].concat()
    }

    /// The features that the device must be opened with.
    pub(super) fn features(self) -> wgpu::Features {
        match self {
            Self::U64 | Self::Carry => wgpu::Features::SHADER_INT64,
            Self::Bitcast => wgpu::Features::SHADER_INT64 | wgpu::Features::PASSTHROUGH_SHADERS,
            Self::Pair => wgpu::Features::empty(),
        }
    }

    /// The kernels that a device with these features can run, in the order of [`Kernel::ALL`]. Never empty.
    pub(super) fn supported(features: wgpu::Features) -> Vec<Self> {
        let mut kernels = Self::ALL.to_vec();
        kernels.retain(|kernel| features.contains(kernel.features()));
        kernels
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kernel that is loaded on a device.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) module: wgpu::ShaderModule,
    /// The constants that the pipeline must set.
    pub(super) constants: &'static [(&'static str, f64)],
}

/// Loads the kernel on a device that was opened with its [`Kernel::features`]. The driver's errors go to the device's
/// error handler.
///
/// # Errors
///
/// As [`Kernel::module`].
pub(super) fn load(device: &wgpu::Device, kernel: Kernel) -> Result<Loaded, SpirvError> {
    let label = Some("work");
    Ok(match kernel.module()? {
        Module::Wgsl(text) => {
            let source = wgpu::ShaderModuleDescriptor {
                label,
                source: wgpu::ShaderSource::Wgsl(text.into()),
            };
            // SAFETY: without run-time checks a shader must not index beyond an array, divide by zero or loop without
            // end. `Dispatch::new` sets the number of slices, at most the array's length, and the number of workgroups,
            // by which the shader divides, at least 1. A slot is a remainder by the number of slots. The loop over
            // nonces counts to at most `MAX_NONCES`, so it ends without wrapping. The search for a slice halves its
            // range in each turn.
            #[expect(unsafe_code, reason = "the checks cost time in each turn of the loop")]
            let module = unsafe {
                device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked())
            };
            Loaded {
                module,
                constants: CONSTANTS,
            }
        }
        Module::Spirv(words) => {
            let source = wgpu::ShaderModuleDescriptorPassthrough {
                label,
                entry_points: vec![wgpu::PassthroughShaderEntryPoint {
                    name: ENTRY_POINT.into(),
                    workgroup_size: (INVOCATIONS_PER_WORKGROUP, 1, 1),
                }]
                .into(),
                spirv: Some(words.into()),
                ..Default::default()
            };
            // SAFETY: wgpu passes the words to the driver unchecked. naga has made them from WGSL that it has validated,
            // with wgpu's own options. Only the body of one function is replaced, by a cast of both parameters, a sum
            // and a cast back, after a check of their types. That is valid SPIR-V, and the device was opened with its
            // capabilities. The argument above holds for the rest of the module.
            #[expect(unsafe_code, reason = "no safe function takes SPIR-V")]
            let module = unsafe { device.create_shader_module_passthrough(source) };
            Loaded {
                module,
                constants: &[],
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;

    #[test]
    fn every_kernel_is_valid_and_needs_64_bit_integers_only_if_it_says_so() {
        for kernel in Kernel::ALL {
            let needed = if kernel.features().contains(wgpu::Features::SHADER_INT64) {
                Capabilities::SHADER_INT64
            } else {
                Capabilities::empty()
            };
            let module = naga::front::wgsl::parse_str(&kernel.wgsl()).unwrap();
            let valid = |capabilities| {
                let mut validator = Validator::new(ValidationFlags::all(), capabilities);
                validator.validate(&module).is_ok()
            };
            assert!(valid(needed), "{kernel}");
            assert_eq!(valid(Capabilities::empty()), needed.is_empty(), "{kernel}");
            let entry = &module.entry_points[0];
            assert_eq!(
                (entry.name.as_str(), module.entry_points.len()),
                (ENTRY_POINT, 1)
            );
        }
    }

    #[test]
    fn the_default_workgroup_size_is_the_one_that_is_used() {
        for kernel in Kernel::ALL {
            let module = naga::front::wgsl::parse_str(&kernel.wgsl()).unwrap();
            let names: Vec<_> = module
                .overrides
                .iter()
                .map(|(_, constant)| constant.name.as_deref())
                .collect();
            assert_eq!(names, [Some(WORKGROUP_SIZE)]);
            let with_default = spirv::translate(&kernel.wgsl(), ENTRY_POINT, &[]).unwrap();
            let with_size = spirv::translate(&kernel.wgsl(), ENTRY_POINT, CONSTANTS).unwrap();
            assert_eq!(with_default, with_size, "{kernel}");
        }
    }

    #[test]
    fn a_kernel_has_one_name() {
        for kernel in Kernel::ALL {
            let name = kernel.name();
            assert_eq!(kernel.to_string(), name);
            assert_eq!(serde_json::to_value(kernel).unwrap(), name);
            assert_eq!(Kernel::from_str(name, false), Ok(kernel));
        }
        assert_eq!(Kernel::value_variants(), Kernel::ALL);
    }

    #[test]
    fn a_device_without_64_bit_integers_runs_pairs_only() {
        assert_eq!(Kernel::supported(wgpu::Features::all()), Kernel::ALL);
        assert_eq!(
            Kernel::supported(wgpu::Features::SHADER_INT64),
            [Kernel::U64, Kernel::Carry, Kernel::Pair]
        );
        assert_eq!(
            Kernel::supported(wgpu::Features::PASSTHROUGH_SHADERS),
            [Kernel::Pair]
        );
    }
}
