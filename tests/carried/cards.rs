//! The tests of the real binary on cards as a program of their own: see `tests/carried/shader.rs`.

#![cfg(test)]

#[path = "../it/cards.rs"]
mod cards;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "little is needed here")]
mod support;
