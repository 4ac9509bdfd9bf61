//! The forms of the shader: what a 64-bit word is, what that needs, and how the module is loaded.

use std::fmt;

use serde::Serialize;

use super::spirv::{self, SpirvError};

/// The name of the shader's entry point.
pub(super) const ENTRY_POINT: &str = "search";
/// The name of the shader's constant that holds the workgroup size.
const WORKGROUP_SIZE: &str = "WORKGROUP_SIZE";
/// How many invocations make a workgroup: the smallest number that fills the units of every card. They share
/// nothing, so nothing is gained by more.
pub(super) const INVOCATIONS_PER_WORKGROUP: u32 = 64;
/// Every constant that the shader's text leaves open.
const CONSTANTS: &[(&str, f64)] = &[(WORKGROUP_SIZE, INVOCATIONS_PER_WORKGROUP as f64)];
/// The name of the function whose body [`Form::Bitcast`] replaces.
const ADD: &str = "add";

/// What a 64-bit word is in the shader. All forms find the same; which is fastest depends on the driver's compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The device's own 64-bit integer. Drivers of NVIDIA, and Mesa's lavapipe, do best with it.
    U64,
    /// The text of [`Form::Carry`], with a true 64-bit addition of the pairs put in its place in the compiled module:
    /// WGSL cannot say it (and naga 30 compiles `bitcast<u64>` of a vector wrongly). AMD's cards do best with it.
    Bitcast,
    /// A pair of 32-bit integers, the lower of which are added in a 64-bit one: the best for AMD's cards that
    /// is WGSL throughout.
    Carry,
    /// A pair of 32-bit integers, which every device has.
    Pair,
}

/// A shader as a driver or its binding takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// Text in WGSL, with the workgroup size left open: its default is the size that is used.
    Wgsl(String),
    /// SPIR-V 1.0 for Vulkan, as words. Nothing is left open.
    Spirv(Vec<u32>),
}

impl Form {
    /// Every form, the one expected to be fastest on most devices first.
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
    /// [`SpirvError`] if SPIR-V was to be made and could not be, which the tests rule out.
    pub fn module(self) -> Result<Module, SpirvError> {
        match self {
            Self::U64 | Self::Carry | Self::Pair => Ok(Module::Wgsl(self.wgsl())),
            Self::Bitcast => self.spirv().map(Module::Spirv),
        }
    }

    /// The shader as SPIR-V 1.0. For a form that is loaded as WGSL, this is what wgpu makes of it on the way.
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

    /// The shader's whole text, in WGSL: the prelude that defines the word, and the search.
    pub(super) fn wgsl(self) -> String {
        let prelude = match self {
            Self::U64 => include_str!("../../../shaders/word_u64.wgsl"),
            Self::Bitcast | Self::Carry => include_str!("../../../shaders/word_carry.wgsl"),
            Self::Pair => include_str!("../../../shaders/word_pair.wgsl"),
        };
        [prelude, include_str!("../../../shaders/work.wgsl")].concat()
    }

    /// What a device must offer and have switched on.
    pub(super) fn features(self) -> wgpu::Features {
        match self {
            Self::U64 | Self::Carry => wgpu::Features::SHADER_INT64,
            Self::Bitcast => wgpu::Features::SHADER_INT64 | wgpu::Features::PASSTHROUGH_SHADERS,
            Self::Pair => wgpu::Features::empty(),
        }
    }

    /// The forms that a device with these features can run, in the order of [`Form::ALL`]. Never empty.
    pub(super) fn supported(features: wgpu::Features) -> Vec<Self> {
        let mut forms = Self::ALL.to_vec();
        forms.retain(|form| features.contains(form.features()));
        forms
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A form that is loaded on a device, for a pipeline to be made of.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) module: wgpu::ShaderModule,
    /// What the pipeline must set.
    pub(super) constants: &'static [(&'static str, f64)],
}

/// Loads the form on a device that was opened with its [`Form::features`]. What the driver has against it comes
/// through the device's handler of errors.
///
/// # Errors
///
/// As [`Form::module`].
pub(super) fn load(device: &wgpu::Device, form: Form) -> Result<Loaded, SpirvError> {
    let label = Some("work");
    Ok(match form.module()? {
        Module::Wgsl(text) => {
            let source = wgpu::ShaderModuleDescriptor {
                label,
                source: wgpu::ShaderSource::Wgsl(text.into()),
            };
            // SAFETY: the checks that are left out keep a shader from indexing beyond its arrays, dividing by zero
            // and looping for ever. `Batch::new` says how many jobs and workgroups there are: never more jobs than the
            // array has, and never no workgroup, by which the shader divides. A place is a remainder by the length of
            // the array of places. The loop over nonces counts up to a number that is at most `MAX_NONCES`, so it
            // ends without wrapping, and the loop that looks for a job halves what is left.
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
            // SAFETY: wgpu hands the words to the driver unseen. They are what naga makes of a text that it has
            // validated, as it would make it for wgpu; only the body of one function is another one, which bitcasts
            // its two parameters, adds them and bitcasts the sum to its type, after their types were checked: valid
            // SPIR-V, of capabilities that the device was asked for. What the text itself may do without checks
            // is argued above.
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
    fn every_text_is_valid_and_needs_64_bit_integers_only_where_it_says_so() {
        for form in Form::ALL {
            let needed = if form.features().contains(wgpu::Features::SHADER_INT64) {
                Capabilities::SHADER_INT64
            } else {
                Capabilities::empty()
            };
            let module = naga::front::wgsl::parse_str(&form.wgsl()).unwrap();
            let valid = |capabilities| {
                let mut validator = Validator::new(ValidationFlags::all(), capabilities);
                validator.validate(&module).is_ok()
            };
            assert!(valid(needed), "{form}");
            assert_eq!(valid(Capabilities::empty()), needed.is_empty(), "{form}");
            let entry = &module.entry_points[0];
            assert_eq!(
                (entry.name.as_str(), module.entry_points.len()),
                (ENTRY_POINT, 1)
            );
        }
    }

    #[test]
    fn the_size_left_open_has_the_size_that_is_used_as_its_default() {
        for form in Form::ALL {
            let module = naga::front::wgsl::parse_str(&form.wgsl()).unwrap();
            let names: Vec<_> = module
                .overrides
                .iter()
                .map(|(_, constant)| constant.name.as_deref())
                .collect();
            assert_eq!(names, [Some(WORKGROUP_SIZE)]);
            let with_default = spirv::translate(&form.wgsl(), ENTRY_POINT, &[]).unwrap();
            let with_size = spirv::translate(&form.wgsl(), ENTRY_POINT, CONSTANTS).unwrap();
            assert_eq!(with_default, with_size, "{form}");
        }
    }

    #[test]
    fn a_name_is_the_same_wherever_it_is_shown() {
        for form in Form::ALL {
            let name = form.name();
            assert_eq!(form.to_string(), name);
            assert_eq!(serde_json::to_value(form).unwrap(), name);
            assert_eq!(Form::from_str(name, false), Ok(form));
        }
        assert_eq!(Form::value_variants(), Form::ALL);
    }

    #[test]
    fn a_device_without_64_bit_integers_runs_pairs_only() {
        assert_eq!(Form::supported(wgpu::Features::all()), Form::ALL);
        assert_eq!(
            Form::supported(wgpu::Features::SHADER_INT64),
            [Form::U64, Form::Carry, Form::Pair]
        );
        assert_eq!(
            Form::supported(wgpu::Features::PASSTHROUGH_SHADERS),
            [Form::Pair]
        );
    }
}
