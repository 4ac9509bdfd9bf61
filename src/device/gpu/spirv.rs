//! WGSL to SPIR-V, as wgpu translates it, and the changes that WGSL cannot express.

use naga::back::pipeline_constants::process_overrides;
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rspirv::binary::Assemble;
use rspirv::dr::{self, Instruction, Operand};
use rspirv::spirv::{LoopControl, Op, Word};

/// Why a shader could not be translated to SPIR-V. The shaders are part of the program, so each of these is a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpirvError {
    /// naga could not parse, validate or write the shader.
    #[error("the shader cannot be translated to SPIR-V: {0}")]
    Translate(String),
    /// The module does not have the expected form.
    #[error("the shader's SPIR-V cannot be changed: {0}")]
    Change(String),
}

/// Translates a compute shader's entry point, with these values for its override constants.
///
/// The options are those of wgpu 30 for a trusted module without run-time checks on Vulkan 1.0
/// (`wgpu-hal/src/vulkan/adapter.rs`, `device.rs`); later versions of Vulkan accept such modules too. In addition the
/// names of functions are kept, which drivers ignore.
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
        // Keeps the numbers of the bindings. wgpu would number them from 0 in the same order.
        fake_missing_bindings: true,
        // naga declares those of them that the shader needs. Without the last two it takes dot products apart.
        capabilities: Some(
            [
                spv::Capability::Shader,
                spv::Capability::Int64,
                spv::Capability::DotProduct,
                spv::Capability::DotProductInput4x8BitPacked,
            ]
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

/// Tells the driver not to unroll any loop. The body of the loop over nonces is some 30 KB of machine code, which an
/// instruction cache just holds once; the other loops run once for many nonces.
///
/// # Errors
///
/// [`SpirvError::Change`] if the module is broken or has no loop.
pub(super) fn keep_loops(words: &[u32]) -> Result<Vec<u32>, SpirvError> {
    let mut module = load(words)?;
    let blocks = module.functions.iter_mut().flat_map(|f| &mut f.blocks);
    let instructions = blocks.flat_map(|block| &mut block.instructions);
    let controls = instructions
        .filter(|instruction| instruction.class.opcode == Op::LoopMerge)
        .filter_map(|merge| merge.operands.last_mut());
    let mut loops = 0;
    for control in controls {
        *control = Operand::LoopControl(LoopControl::DONT_UNROLL);
        loops += 1;
    }
    if loops == 0 {
        return Err(SpirvError::Change("it has no loop".to_owned()));
    }
    Ok(module.assemble())
}

fn load(words: &[u32]) -> Result<dr::Module, SpirvError> {
    dr::load_words(words).map_err(|error| SpirvError::Change(error.to_string()))
}

/// Replaces the body of the function with this name, `fn(vec2<u32>, vec2<u32>) -> vec2<u32>`: it casts both parameters to
/// 64-bit integers, adds them, and casts the sum back. The first component is the lower half, as in `OpBitcast` (SPIR-V
/// 1.6, section 3.49.11).
///
/// The module must have a type of 64-bit integers.
///
/// # Errors
///
/// [`SpirvError::Change`] if the module is broken, lacks the type, or does not have exactly one such function.
pub(super) fn add_as_u64(words: &[u32], name: &str) -> Result<Vec<u32>, SpirvError> {
    let failed = |what: String| SpirvError::Change(what);
    let mut module = load(words)?;

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

/// The unsigned integer type with this number of bits.
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
mod tests;
