//! The server from outside: the real binary, and the service in this process with devices of a test's own, both over real
//! sockets. One program, since each links the whole server. `tests/chaos.rs` is another one, because it counts the threads and
//! descriptors of its whole process, and `tests/kernels` the one that runs for other processors too.

#![cfg(test)]

#[path = "../support/collector.rs"]
mod collector;
#[path = "../support/fuzzing.rs"]
mod fuzzing;
#[path = "../support/mod.rs"]
mod support;

mod access;
mod addresses;
mod admission;
mod architecture;
mod cards;
mod cli;
mod clock;
mod coalescing;
mod connections;
mod corpus;
mod documentation;
mod environment;
mod faults;
mod http;
mod javascript_client;
mod lifecycle;
mod log;
mod memory;
mod metrics;
mod nano;
mod openapi;
mod process;
mod recovery;
mod reference_faults;
mod shader;
mod sharing;
mod status;
mod status_page;
mod traces;
mod vulkan_faults;
