//! The part of the server that searches on the processor, from the same files.

#![allow(dead_code, unused_imports, reason = "the rest of the server uses it")]

#[path = "../../src/milliseconds.rs"]
mod milliseconds;
#[path = "../../src/work/mod.rs"]
pub mod work;

pub mod device;
