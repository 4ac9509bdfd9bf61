//! Every engine, and the protocol's values, against the conformance vectors and the reference hash.

#![cfg(test)]

#[path = "../support/conformance.rs"]
mod conformance;
mod cpu;
mod gpu;
#[path = "../support/needs.rs"]
#[allow(dead_code, reason = "only a card is needed here")]
mod needs;
mod protocol;
