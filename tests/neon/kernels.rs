//! The processor's kernels and the protocol's values, as `tests/kernels` has them.

#[path = "../support/conformance.rs"]
mod conformance;
#[path = "../kernels/cpu.rs"]
mod cpu;
#[path = "../kernels/protocol.rs"]
mod protocol;
