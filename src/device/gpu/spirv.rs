//! WGSL to SPIR-V, as wgpu translates it, and the one change that WGSL has no words for.

use naga::back::pipeline_constants::process_overrides;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rspirv::binary::Assemble;
use rspirv::dr::{self, Instruction, Operand};
use rspirv::spirv::{Op, Word};

/// Why a shader could not be made into SPIR-V. As the shaders are part of the program, each is a fault of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpirvError {
    /// naga refused the text, or could not write it.
    #[error("the shader cannot be translated to SPIR-V: {0}")]
    Translate(String),
    /// What was to be changed is not what it should be.
    #[error("the shader's SPIR-V cannot be changed: {0}")]
    Change(String),
}

/// Translates the entry point of a WGSL text, a compute shader, with these values for its override constants.
///
/// The options are those that wgpu 30 uses for a trusted module without run-time checks on a device of Vulkan 1.0
/// (`wgpu-hal/src/vulkan/adapter.rs`, `device.rs`), and every later version takes what that one does. Beyond them
/// the names of functions are kept, which means nothing to a driver.
pub(super) fn translate(
    wgsl: &str,
    entry_point: &str,
    constants: &[(&str, f64)],
) -> Result<Vec<u32>, SpirvError> {
    let failed = |error: &dyn std::fmt::Display| SpirvError::Translate(error.to_string());
    let module = naga::front::wgsl::parse_str(wgsl)
        .map_err(|error| SpirvError::Translate(error.emit_to_string(wgsl)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_INT64)
        .validate(&module)
        .map_err(|error| SpirvError::Translate(error.emit_to_string(wgsl)))?;
    let constants = constants
        .iter()
        .map(|&(name, value)| (name.to_owned(), value))
        .collect();
    let stage = naga::ShaderStage::Compute;
    let (module, info) = process_overrides(&module, &info, Some((stage, entry_point)), &constants)
        .map_err(|error| failed(&error))?;
    let options = spv::Options {
        lang_version: (1, 0),
        flags: spv::WriterFlags::DEBUG
            | spv::WriterFlags::LABEL_VARYINGS
            | spv::WriterFlags::FORCE_POINT_SIZE,
        // The bindings' own numbers: they count up from zero, so wgpu leaves them as they are.
        fake_missing_bindings: true,
        capabilities: Some(
            [spv::Capability::Shader, spv::Capability::Int64]
                .into_iter()
                .collect(),
        ),
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Unchecked,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let pipeline_options = spv::PipelineOptions {
        shader_stage: stage,
        entry_point: entry_point.to_owned(),
    };
    spv::write_vec(&module, &info, &options, Some(&pipeline_options))
        .map_err(|error| failed(&error))
}

/// Gives the function of this name, `fn(vec2<u32>, vec2<u32>) -> vec2<u32>`, another body: both parameters taken for
/// 64-bit integers, the first component for the lower half, and added. (The order of the halves is that of
/// `OpBitcast`: SPIR-V 1.6, section 3.49.11.)
///
/// The module must have a type of 64-bit integers already.
///
/// # Errors
///
/// [`SpirvError::Change`] if the module is broken, has not exactly one such function, or lacks the type.
pub(super) fn add_as_u64(words: &[u32], name: &str) -> Result<Vec<u32>, SpirvError> {
    let failed = |what: String| SpirvError::Change(what);
    let mut module = dr::load_words(words).map_err(|error| failed(error.to_string()))?;

    let u32_type = integer_type(&module, 32)?;
    let u64_type = integer_type(&module, 64)?;
    let pair_type = type_of(&module, |ty| {
        ty.class.opcode == Op::TypeVector
            && ty.operands == [Operand::IdRef(u32_type), Operand::LiteralBit32(2)]
    })
    .ok_or_else(|| failed("there is no vec2<u32>".to_owned()))?;

    let named = |id: Word| {
        module.debug_names.iter().any(|debug| {
            debug.class.opcode == Op::Name
                && debug.operands == [Operand::IdRef(id), Operand::LiteralString(name.to_owned())]
        })
    };
    let mut found = Vec::new();
    for (index, function) in module.functions.iter().enumerate() {
        if function.def_id().is_some_and(named) {
            found.push(index);
        }
    }
    let &[index] = &found[..] else {
        return Err(failed(format!(
            "it has {} functions of the name {name}, not one",
            found.len()
        )));
    };

    let mut next_id = module
        .header
        .as_ref()
        .ok_or_else(|| failed("it has no header".to_owned()))?
        .bound;
    let mut id = || {
        next_id += 1;
        next_id - 1
    };
    let function = &mut module.functions[index];
    let types: Vec<_> = [&function.def]
        .into_iter()
        .flatten()
        .chain(&function.parameters)
        .map(|instruction| instruction.result_type)
        .collect();
    if types != [Some(pair_type); 3] {
        return Err(failed(format!(
            "{name} is not a function of two vec2<u32> to one"
        )));
    }
    let operands: Vec<_> = function
        .parameters
        .iter()
        .filter_map(|parameter| parameter.result_id)
        .collect();
    let mut body = Vec::new();
    let mut emit = |op, ty, operands: &[Word]| {
        let result = id();
        let operands = operands.iter().copied().map(Operand::IdRef).collect();
        body.push(Instruction::new(op, Some(ty), Some(result), operands));
        result
    };
    let wide: Vec<_> = operands
        .iter()
        .map(|&operand| emit(Op::Bitcast, u64_type, &[operand]))
        .collect();
    let sum = emit(Op::IAdd, u64_type, &wide);
    let result = emit(Op::Bitcast, pair_type, &[sum]);
    let returned = vec![Operand::IdRef(result)];
    body.push(Instruction::new(Op::ReturnValue, None, None, returned));
    function.blocks = vec![dr::Block {
        label: Some(Instruction::new(Op::Label, None, Some(id()), vec![])),
        instructions: body,
    }];
    if let Some(header) = &mut module.header {
        header.bound = next_id;
    }
    Ok(module.assemble())
}

/// The unsigned integer type of so many bits.
fn integer_type(module: &dr::Module, bits: u32) -> Result<Word, SpirvError> {
    type_of(module, |ty| {
        ty.class.opcode == Op::TypeInt
            && ty.operands == [Operand::LiteralBit32(bits), Operand::LiteralBit32(0)]
    })
    .ok_or_else(|| SpirvError::Change(format!("it has no type of {bits}-bit integers")))
}

fn type_of(module: &dr::Module, wanted: impl Fn(&Instruction) -> bool) -> Option<Word> {
    module
        .types_global_values
        .iter()
        .find(|ty| wanted(ty))
        .and_then(|ty| ty.result_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = "
        fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
            let low = u64(a.x) + u64(b.x);
            return vec2(u32(low), a.y + b.y + u32(low >> 32u));
        }";
    const MAIN: &str = "
        @group(0) @binding(0) var<storage, read_write> words: array<vec2<u32>, 3>;
        override SIZE: u32;
        @compute @workgroup_size(SIZE) fn main() { words[2] = add(words[0], words[1]); }";

    fn words(add: &str) -> Vec<u32> {
        translate(&[add, MAIN].concat(), "main", &[("SIZE", 8.0)]).unwrap()
    }

    /// Every instruction of every function, and the bound on the ids.
    fn instructions(words: &[u32]) -> (Vec<Instruction>, u32) {
        let module = dr::load_words(words).unwrap();
        let bound = module.header.as_ref().unwrap().bound;
        let blocks = module
            .functions
            .iter()
            .flat_map(|function| &function.blocks);
        let instructions = blocks.flat_map(|block| block.instructions.clone());
        (instructions.collect(), bound)
    }

    fn refusal(text: &str) -> String {
        let words = translate(text, "main", &[("SIZE", 8.0)]).unwrap();
        match add_as_u64(&words, "add") {
            Err(SpirvError::Change(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_sum_is_that_of_64_bit_integers() {
        let before = words(PAIR);
        let u64_type = integer_type(&dr::load_words(&before).unwrap(), 64).unwrap();
        let after = add_as_u64(&before, "add").unwrap();
        let (after, bound) = instructions(&after);
        let additions: Vec<_> = after
            .iter()
            .filter(|i| i.class.opcode == Op::IAdd)
            .collect();
        let [addition] = additions[..] else {
            panic!("{additions:?}")
        };
        assert_eq!(addition.result_type, Some(u64_type));
        // Its operands are the parameters, in their order, and its result is what is returned.
        let casts: Vec<_> = after
            .iter()
            .filter(|i| i.class.opcode == Op::Bitcast)
            .collect();
        let [first, second, sum] = casts[..] else {
            panic!("{casts:?}")
        };
        assert_eq!(
            addition.operands,
            [first, second].map(|cast| Operand::IdRef(cast.result_id.unwrap()))
        );
        assert_eq!(sum.operands, [Operand::IdRef(addition.result_id.unwrap())]);
        // The ids are new, and the bound covers them.
        let (_, bound_before) = instructions(&before);
        for cast in casts {
            assert!((bound_before..bound).contains(&cast.result_id.unwrap()));
        }
    }

    #[test]
    fn nothing_else_changes() {
        let before = dr::load_words(words(PAIR)).unwrap();
        let after = dr::load_words(add_as_u64(&before.assemble(), "add").unwrap()).unwrap();
        let rest = |mut module: dr::Module| {
            module.header = None;
            for function in &mut module.functions {
                if function.parameters.len() == 2 {
                    function.blocks.clear();
                }
            }
            module.assemble()
        };
        assert_ne!(before.assemble(), after.assemble());
        assert_eq!(rest(before), rest(after));
    }

    #[test]
    fn a_module_of_another_shape_is_refused() {
        let text = [PAIR, MAIN].concat();
        let changed = |from: &str, to: &str| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            refusal(&changed)
        };
        let renamed = changed("add(", "sum(");
        assert!(renamed.contains("0 functions of the name add"), "{renamed}");
        // Without a u64 there is no type for the sum.
        let narrow = text.replace(
            PAIR,
            "fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return a + b; }",
        );
        let narrow = refusal(&narrow);
        assert!(narrow.contains("no type of 64-bit integers"), "{narrow}");
        let three = text
            .replace("b: vec2<u32>)", "b: vec2<u32>, c: u32)")
            .replace("words[1])", "words[1], 0u)");
        let three = refusal(&three);
        assert!(three.contains("not a function of two"), "{three}");
    }

    #[test]
    fn a_broken_module_is_refused() {
        let whole = words(PAIR);
        for broken in [&[][..], &whole[..4], &whole[..whole.len() - 2]] {
            let refused = add_as_u64(broken, "add");
            assert!(matches!(refused, Err(SpirvError::Change(_))), "{refused:?}");
        }
    }

    #[test]
    fn a_text_that_is_wrong_is_refused() {
        for (text, entry_point, constants) in [
            ("fn", "main", &[("SIZE", 8.0)][..]),
            (MAIN, "main", &[("SIZE", 8.0)]),
            (&[PAIR, MAIN].concat(), "other", &[("SIZE", 8.0)]),
            (&[PAIR, MAIN].concat(), "main", &[]),
        ] {
            let refused = translate(text, entry_point, constants);
            assert!(
                matches!(refused, Err(SpirvError::Translate(_))),
                "{refused:?}"
            );
        }
    }
}
