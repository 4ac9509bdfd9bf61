//! The tests of `work-server shader` as a program of their own. Each file here is the root of one. They are built on request
//! alone, by their names, to be carried to a machine that has a card and no compiler: the tests of a card, the shader's, and
//! those of the real binary on cards. Everywhere else they are a part of `tests/kernels` and `tests/it`.

#![cfg(test)]

#[path = "../it/shader.rs"]
mod shader;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "little is needed here")]
mod support;
