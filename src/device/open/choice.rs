//! The operator's choice of devices.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::device::gpu::Selection;
use crate::device::{cpu, gpu};

/// The devices that may be used, as the operator chose.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Cards, the processor, or either.
    pub backend: BackendChoice,
    /// Which cards.
    pub selection: Selection,
    /// The kernel of the processor or of the cards. `None` is the fastest of each.
    pub kernel: Option<ChosenKernel>,
    /// How many threads the processor searches with.
    pub threads: NonZeroUsize,
}

/// A kernel that the operator named. The other kind of device runs its fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenKernel {
    /// A kernel of this processor.
    Cpu(cpu::Kernel),
    /// A kernel of cards. A card may lack it.
    Gpu(gpu::Kernel),
}

impl ChosenKernel {
    /// The kernel, if it is one of the processor.
    pub(super) fn of_cpu(self) -> Option<cpu::Kernel> {
        match self {
            Self::Cpu(kernel) => Some(kernel),
            Self::Gpu(_) => None,
        }
    }

    /// The kernel, if it is one of cards.
    pub(super) fn of_gpu(self) -> Option<gpu::Kernel> {
        match self {
            Self::Cpu(_) => None,
            Self::Gpu(kernel) => Some(kernel),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu(kernel) => kernel.name(),
            Self::Gpu(kernel) => kernel.name(),
        }
    }
}

impl FromStr for ChosenKernel {
    type Err = NoSuchKernel;

    fn from_str(name: &str) -> Result<Self, NoSuchKernel> {
        if let Some(kernel) = gpu::Kernel::ALL.iter().find(|kernel| kernel.name() == name) {
            return Ok(Self::Gpu(*kernel));
        }
        let processor = cpu::Kernel::named(name).map(Self::Cpu);
        processor.map_err(|error| NoSuchKernel {
            processor: error,
            cards: gpu::Kernel::ALL.map(gpu::Kernel::name).join(", "),
        })
    }
}

/// No device has a kernel of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{processor}; cards have {cards}")]
pub struct NoSuchKernel {
    processor: cpu::NoSuchKernel,
    cards: String,
}

/// The kind of device that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendChoice {
    /// Graphics cards if there are any, else the processor
    Auto,
    /// Graphics cards only; software Vulkan devices too, if there is no card or --device names them
    Gpu,
    /// The processor only
    Cpu,
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_of_either_kind_of_device_is_known_by_its_name() {
        let named = |name: &str| name.parse::<ChosenKernel>();
        for kernel in cpu::Kernel::available() {
            assert_eq!(named(kernel.name()), Ok(ChosenKernel::Cpu(kernel)));
        }
        for kernel in gpu::Kernel::ALL {
            assert_eq!(named(kernel.name()), Ok(ChosenKernel::Gpu(kernel)));
        }
    }

    #[test]
    fn a_name_that_no_device_has_is_refused_with_the_names_that_there_are() {
        for wrong in ["mmx", "", "U64", "dot24-16h"] {
            let error = wrong.parse::<ChosenKernel>().unwrap_err().to_string();
            let names = "u64, bitcast, pair64, dot24, dot24_16h, insert, pair";
            assert!(error.contains(&format!("no kernel {wrong:?}")), "{error}");
            assert!(error.contains("portable; cards have"), "{error}");
            assert!(error.ends_with(names), "{error}");
        }
    }
}
