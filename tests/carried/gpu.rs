//! The tests of a card's engine as a program of their own: see `tests/carried/shader.rs`.

#![cfg(test)]

#[path = "../support/conformance.rs"]
#[allow(dead_code, reason = "the processor's tests are not here")]
mod conformance;
#[path = "../kernels/gpu.rs"]
mod gpu;
#[path = "../support/needs.rs"]
#[allow(dead_code, reason = "only a card is needed here")]
mod needs;
