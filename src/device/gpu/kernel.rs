//! The kernels of a card: the search shader with different kinds of 64-bit word, and how each is loaded.

use std::fmt;

use serde::Serialize;

use super::spirv::{self, SpirvError};

/// The name of the shader's entry point.
pub(super) const ENTRY_POINT: &str = "search";
/// The name of the shader's constant that holds the workgroup size.
const WORKGROUP_SIZE: &str = "WORKGROUP_SIZE";
/// How many invocations a workgroup has: the smallest number that fills the SIMD units of every card. They share only
/// the count of tested nonces, so larger workgroups gain nothing.
pub(super) const INVOCATIONS_PER_WORKGROUP: u32 = 64;
/// The values of all override constants of the shader.
const CONSTANTS: &[(&str, f64)] = &[(WORKGROUP_SIZE, INVOCATIONS_PER_WORKGROUP as f64)];
/// The name of the function whose body [`Kernel::Bitcast`] replaces.
const ADD: &str = "add";

/// A kernel of a card. Kernels differ in the kind of 64-bit word and find the same nonces. Which one is fastest depends on
/// the driver's compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// The device's 64-bit integers. The fastest with Mesa's lavapipe.
    U64,
    /// Pairs of 32-bit integers, which are cast to 64-bit integers for each addition. WGSL cannot express the cast, so the
    /// compiled module is changed. The fewest instructions on AMD's cards.
    Bitcast,
    /// Pairs of 32-bit integers, which are joined to 64-bit integers for each addition. Plain WGSL.
    Pair64,
    /// As [`Kernel::Pair64`], but rotations by 24 bits are products and dot products.
    Dot24,
    /// As [`Kernel::Dot24`], and half of each rotation by 16 bits is. The fewest clocks on most of NVIDIA's cards.
    #[serde(rename = "dot24_16h")]
    #[value(name = "dot24_16h")]
    Dot24And16,
    /// Pairs of 32-bit integers, whose rotations insert bits. The fewest instructions on Intel's cards.
    Insert,
    /// Pairs of 32-bit integers, which every device has.
    Pair,
}

impl Kernel {
    /// Every kernel. `gpu::order` says which are likely to be fast on a device.
    pub const ALL: [Self; 7] = [
        Self::U64,
        Self::Bitcast,
        Self::Pair64,
        Self::Dot24,
        Self::Dot24And16,
        Self::Insert,
        Self::Pair,
    ];

    /// The name that the command line, `devices`, logs and metrics show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U64 => "u64",
            Self::Bitcast => "bitcast",
            Self::Pair64 => "pair64",
            Self::Dot24 => "dot24",
            Self::Dot24And16 => "dot24_16h",
            Self::Insert => "insert",
            Self::Pair => "pair",
        }
    }

    /// The shader as it is loaded: SPIR-V 1.0 for Vulkan, without override constants.
    ///
    /// # Errors
    ///
    /// [`SpirvError`] if the translation fails, which the tests rule out.
    pub fn spirv(self) -> Result<Vec<u32>, SpirvError> {
        let words = spirv::translate(&self.wgsl(), ENTRY_POINT, CONSTANTS)?;
        let words = spirv::keep_loops(&words)?;
        match self {
            Self::Bitcast => spirv::add_as_u64(&words, ADD),
            _ => Ok(words),
        }
    }

    /// Whether WGSL expresses all of the kernel, so that [`Kernel::spirv`] only translates [`Kernel::wgsl`].
    pub fn is_wgsl(self) -> bool {
        self != Self::Bitcast
    }

    /// The shader's WGSL: the prelude that defines the word, and the search. The workgroup size is an override constant,
    /// whose default is the size that is used.
    pub fn wgsl(self) -> String {
        let prelude = match self {
            Self::U64 => include_str!("../../../shaders/word_u64.wgsl"),
            Self::Bitcast => include_str!("../../../shaders/word_bitcast.wgsl"),
            Self::Pair64 => include_str!("../../../shaders/word_pair64.wgsl"),
            Self::Dot24 => include_str!("../../../shaders/word_dot24.wgsl"),
            Self::Dot24And16 => include_str!("../../../shaders/word_dot24_16h.wgsl"),
            Self::Insert => include_str!("../../../shaders/word_insert.wgsl"),
            Self::Pair => include_str!("../../../shaders/word_pair.wgsl"),
        };
        [prelude, include_str!("../../../shaders/work.wgsl")].concat()
    }

    /// The features that the device must be opened with.
    pub(super) fn features(self) -> wgpu::Features {
        let integers = match self {
            Self::Insert | Self::Pair => wgpu::Features::empty(),
            Self::U64 | Self::Bitcast | Self::Pair64 | Self::Dot24 | Self::Dot24And16 => {
                wgpu::Features::SHADER_INT64
            }
        };
        wgpu::Features::PASSTHROUGH_SHADERS | integers
    }

    /// Whether the device must have dot products of bytes.
    fn needs_dot_product(self) -> bool {
        matches!(self, Self::Dot24 | Self::Dot24And16)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The abilities of a device that some kernels need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    features: wgpu::Features,
    dot_product: bool,
}

impl Abilities {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        Self {
            features: adapter.features(),
            dot_product: has_dot_product(adapter),
        }
    }

    /// Whether the device can run the kernel.
    pub(super) fn suffice_for(self, kernel: Kernel) -> bool {
        self.features.contains(kernel.features())
            && (self.dot_product || !kernel.needs_dot_product())
    }
}

/// Whether the device has Vulkan's shaderIntegerDotProduct. wgpu has no feature of that name, but enables it on every
/// device that has it: those with Vulkan 1.3 or the extension, both of which require it.
fn has_dot_product(adapter: &wgpu::Adapter) -> bool {
    const VULKAN_1_3: u32 = (1 << 22) | (3 << 12);
    // SAFETY: the handle of the driver is only read, and lives no longer than this function.
    #[expect(unsafe_code, reason = "no safe function tells this")]
    let adapter = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() };
    adapter.is_some_and(|adapter| {
        let device = adapter.physical_device_capabilities();
        device.properties().api_version >= VULKAN_1_3
            || device.supports_extension(c"VK_KHR_shader_integer_dot_product")
    })
}

/// Loads the kernel on a device that was opened with its [`Kernel::features`], and has what else it needs. The driver's
/// errors go to the device's error handler.
///
/// # Errors
///
/// As [`Kernel::spirv`].
pub(super) fn load(
    device: &wgpu::Device,
    kernel: Kernel,
) -> Result<wgpu::ShaderModule, SpirvError> {
    let source = wgpu::ShaderModuleDescriptorPassthrough {
        label: Some("work"),
        entry_points: vec![wgpu::PassthroughShaderEntryPoint {
            name: ENTRY_POINT.into(),
            workgroup_size: (INVOCATIONS_PER_WORKGROUP, 1, 1),
        }]
        .into(),
        spirv: Some(kernel.spirv()?.into()),
        ..Default::default()
    };
    // SAFETY: wgpu passes the words to the driver unchecked, so they must be valid, need nothing that the device lacks, and
    // must not index beyond an array, divide by zero or loop without end, as there are no run-time checks.
    // Valid: naga has made the words from WGSL that it has validated, with wgpu's own options. Two things are changed: a
    // hint at each loop, and the body of one function, which becomes a cast of both parameters, a sum and a cast back,
    // after a check of their types. A test puts every module through Khronos's validator.
    // Needs: `Abilities::suffice_for` was asked, and the device was opened with the kernel's features.
    // Within bounds: `Dispatch::new` sets the number of slices, at most the array's length, and the number of workgroups,
    // by which the shader divides, at least 1. A slot is a remainder by the number of slots. The loop over nonces counts
    // to at most `MAX_NONCES`, so it ends without wrapping. The search for a slice halves its range in each turn.
    #[expect(unsafe_code, reason = "no safe function takes SPIR-V")]
    let module = unsafe { device.create_shader_module_passthrough(source) };
    Ok(module)
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
    fn a_module_needs_dot_products_only_if_the_kernel_says_so() {
        for kernel in Kernel::ALL {
            let module = rspirv::dr::load_words(kernel.spirv().unwrap()).unwrap();
            let bytes = rspirv::spirv::Capability::DotProductInput4x8BitPacked;
            let bytes = [rspirv::dr::Operand::Capability(bytes)];
            let needs = module.capabilities.iter().any(|it| it.operands == bytes);
            assert_eq!(needs, kernel.needs_dot_product(), "{kernel}");
        }
    }

    #[test]
    fn a_device_runs_the_kernels_that_it_has_the_features_for() {
        let runs = |features, dot_product| {
            let abilities = Abilities {
                features,
                dot_product,
            };
            let mut kernels = Kernel::ALL.to_vec();
            kernels.retain(|&kernel| abilities.suffice_for(kernel));
            kernels
        };
        let all = wgpu::Features::all();
        assert_eq!(runs(all, true), Kernel::ALL);
        let mut without_dot_product = Kernel::ALL.to_vec();
        without_dot_product.retain(|kernel| !kernel.needs_dot_product());
        assert_eq!(runs(all, false), without_dot_product);
        assert_eq!(
            runs(all - wgpu::Features::SHADER_INT64, true),
            [Kernel::Insert, Kernel::Pair]
        );
        assert_eq!(runs(all - wgpu::Features::PASSTHROUGH_SHADERS, true), []);
    }
}
