//! SPIR-V through a driver of Mesa on a machine without its cards.
//!
//! RADV needs the environment variable `RADV_FORCE_FAMILY`: it then shows a device of that family, which compiles
//! pipelines and runs nothing (Mesa's documentation, environment variables of RADV). ANV needs Mesa's
//! `intel_noop_drm_shim` preloaded: it answers the driver's calls as the kernel would for the platform that
//! `INTEL_STUB_GPU_PLATFORM` names. The extension `VK_KHR_pipeline_executable_properties` gives back what was compiled.

use std::ffi::{CStr, c_char};

use anyhow::{Context, Result, bail};
use ash::khr::pipeline_executable_properties;
use ash::vk;
use rspirv::dr::{self, Operand};
use rspirv::spirv::{Decoration, Op, StorageClass};

pub struct Compiled {
    /// The driver's name and version, such as `Mesa 25.0.7-2`.
    pub driver: String,
    /// The disassembly.
    pub listing: String,
    /// How many invocations run side by side.
    pub width: usize,
    /// The fewest that the device can run side by side.
    pub least_width: usize,
}

/// Compiles the entry point for the family that the environment names. Nothing is given back to the driver, since the
/// process ends soon after.
pub fn compile(words: &[u32], entry_point: &CStr) -> Result<Compiled> {
    let bindings = bindings(words)?;
    // SAFETY: every handle is used while what made it is alive, on one thread; every structure is what its function
    // takes, and the arrays that they point to outlive the calls.
    unsafe {
        let entry = ash::Entry::load().context("no Vulkan loader (libvulkan.so.1)")?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let instance = vk::InstanceCreateInfo::default().application_info(&application);
        let instance = entry
            .create_instance(&instance, None)
            .context("no driver")?;
        let devices = instance.enumerate_physical_devices()?;
        let physical = *devices.first().context("the driver knows no such family")?;
        let mut of_1_2 = vk::PhysicalDeviceVulkan12Properties::default();
        let mut of_1_3 = vk::PhysicalDeviceVulkan13Properties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default()
            .push_next(&mut of_1_2)
            .push_next(&mut of_1_3);
        instance.get_physical_device_properties2(physical, &mut properties);
        let driver = text(&of_1_2.driver_info);

        let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let features = vk::PhysicalDeviceFeatures::default().shader_int64(true);
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
        let extensions = [pipeline_executable_properties::NAME.as_ptr()];
        let device = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .enabled_features(&features)
            .push_next(&mut executables);
        let device = instance.create_device(physical, &device, None)?;

        let layout = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        let layouts = [device.create_descriptor_set_layout(&layout, None)?];
        let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts);
        let layout = device.create_pipeline_layout(&layout, None)?;
        let module = vk::ShaderModuleCreateInfo::default().code(words);
        let module = device.create_shader_module(&module, None)?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(entry_point);
        let pipeline = vk::ComputePipelineCreateInfo::default()
            .stage(stage)
            .layout(layout)
            .flags(vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR);
        let pipelines = device
            .create_compute_pipelines(vk::PipelineCache::null(), &[pipeline], None)
            .map_err(|(_, error)| error)
            .context("the driver refuses the shader")?;

        let executables = pipeline_executable_properties::Device::new(&instance, &device);
        let info = vk::PipelineInfoKHR::default().pipeline(pipelines[0]);
        let [executable] = executables.get_pipeline_executable_properties(&info)?[..] else {
            bail!("the driver has not made one program");
        };
        let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipelines[0]);
        let mut texts = executables.get_pipeline_executable_internal_representations(&info)?;
        // The first answer tells how long the texts are; the second, into memory of that size, has them.
        let mut memory: Vec<Vec<u8>> = texts.iter().map(|text| vec![0; text.data_size]).collect();
        for (text, memory) in texts.iter_mut().zip(&mut memory) {
            text.p_data = memory.as_mut_ptr().cast();
        }
        let mut count = u32::try_from(texts.len())?;
        (executables
            .fp()
            .get_pipeline_executable_internal_representations_khr)(
            executables.device(),
            &info,
            &mut count,
            texts.as_mut_ptr(),
        )
        .result()?;
        let is_listing = |name: &[c_char]| text(name).ends_with("Assembly");
        let place = texts
            .iter()
            .position(|text| is_listing(&text.name))
            .context("the driver has no disassembly")?;
        let listing = CStr::from_bytes_until_nul(&memory[place])?
            .to_str()?
            .to_owned();
        Ok(Compiled {
            driver,
            listing,
            width: executable.subgroup_size.try_into()?,
            least_width: of_1_3.min_subgroup_size.try_into()?,
        })
    }
}

/// The buffers that the module binds. They must all be of set 0.
fn bindings(words: &[u32]) -> Result<Vec<vk::DescriptorSetLayoutBinding<'static>>> {
    let module =
        dr::load_words(words).map_err(|error| anyhow::anyhow!("not a SPIR-V module: {error}"))?;
    let decorated = |id: u32, decoration| {
        module
            .annotations
            .iter()
            .find_map(|note| match note.operands[..] {
                [
                    Operand::IdRef(target),
                    Operand::Decoration(found),
                    Operand::LiteralBit32(value),
                ] if (target, found) == (id, decoration) => Some(value),
                _ => None,
            })
    };
    let mut bindings = Vec::new();
    for variable in module
        .types_global_values
        .iter()
        .filter(|value| value.class.opcode == Op::Variable)
    {
        let kind = match variable.operands.first() {
            Some(Operand::StorageClass(StorageClass::Uniform)) => {
                vk::DescriptorType::UNIFORM_BUFFER
            }
            Some(Operand::StorageClass(StorageClass::StorageBuffer)) => {
                vk::DescriptorType::STORAGE_BUFFER
            }
            // No descriptor is bound to these.
            Some(Operand::StorageClass(StorageClass::Input | StorageClass::Workgroup)) => continue,
            other => bail!("a variable of the kind {other:?}, which this tool does not know"),
        };
        let id = variable.result_id.context("a variable without an id")?;
        if decorated(id, Decoration::DescriptorSet) != Some(0) {
            bail!("a buffer is not of set 0");
        }
        let binding = decorated(id, Decoration::Binding).context("a buffer without a binding")?;
        bindings.push(
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(kind)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE),
        );
    }
    Ok(bindings)
}

/// The text in an array that ends with a zero.
fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars
        .iter()
        .map(|&char| char as u8)
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
