//! What the operator chose.

use std::num::NonZeroUsize;

use crate::device::cpu::Kernel;
use crate::device::gpu::Selection;

/// The devices that may be used, as the operator chose.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Cards, the processor, or either.
    pub backend: BackendChoice,
    /// Which cards.
    pub selection: Selection,
    /// The processor's kernel. `None` is the fastest.
    pub kernel: Option<Kernel>,
    /// How many threads the processor searches with.
    pub threads: NonZeroUsize,
}

/// The kind of device that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendChoice {
    /// Graphics cards if there are any, else the processor
    Auto,
    /// Graphics cards only, software Vulkan devices among them if there is no card or one is chosen
    Gpu,
    /// The processor only
    Cpu,
}
