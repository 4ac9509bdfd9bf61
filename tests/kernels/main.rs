//! Every engine, and the protocol's values, against the conformance vectors and the reference hash.

#![cfg(test)]

#[path = "../support/conformance.rs"]
mod conformance;
mod cpu;
mod gpu;
mod protocol;
