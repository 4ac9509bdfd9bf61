//! Proof-of-work server for the Atto network: Blake2b on graphics cards through Vulkan and on processors through SIMD,
//! behind `POST /works`.
//!
//! One request, from the socket to the device and back:
//!
//! ```text
//! POST /works -> connections                  accept, time out, close
//!             -> http, http::works            read and validate: a work::WorkRequest cannot hold a wrong value; http::nano
//!                                             does so on Nano's port
//!             -> scheduler::Scheduler::search join a search, take a cached answer, or queue a new search
//!             -> scheduler::threads::worker   one thread an engine: take a batch, test a slice of each of its searches
//!             -> device::Engine               on a core (device::cpu) or a card (device::gpu)
//!             -> work::Work::verify           the reference hash
//!             -> http::works                  200 {"work": …}
//! ```
//!
//! | module | job |
//! | --- | --- |
//! | [`work`] | the values of the protocol, and the hash that every answer is checked by |
//! | [`device`] | the devices that search: the processor, cards, their self-test |
//! | [`scheduler`] | which search gets which device, and what happens when a device fails |
//! | [`connections`] | clients' connections: limits, time-outs, how they end |
//! | [`http`], [`management`] | the port for clients, and the one for probes, metrics and people |
//! | [`access`], [`problem`] | which requests are allowed, and every error response |
//! | [`telemetry`] | logs, metrics, traces |
//! | [`service`], [`lifecycle`] | how the service starts and stops |
//! | [`config`], [`cli`] | settings, and the command line |
//!
//! # As a library
//!
//! One work, on every core of this machine:
//!
//! ```
//! use std::{num::NonZeroUsize, time::Duration};
//!
//! use atto_work_server::device::{OpenDevices, cpu};
//! use atto_work_server::scheduler::{Limits, Scheduler};
//! use atto_work_server::telemetry::Metrics;
//! use atto_work_server::work::{Network, Timestamp, WorkRequest};
//!
//! let processor = cpu::open(None, cpu::available_threads())?;
//! let scheduler = Scheduler::start(Limits::new(NonZeroUsize::MIN, 0), Metrics::new())?;
//! scheduler.put_to_work(OpenDevices { devices: vec![processor], ..OpenDevices::default() })?;
//!
//! let target = "5CE06EC5DABAAA7BAC605EAF337B9681D0B6533CD6F4C1E8C92CAC52D9FC4786".parse()?;
//! let now = Timestamp::now();
//! let request = WorkRequest::new(Network::Local, now, target, now)?;
//! let solved = pollster::block_on(scheduler.solve(request))?;
//! println!("{}", solved.work); // 16 hex digits
//! scheduler.stop(Duration::from_secs(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - Modules depend downwards only, without cycles: [`work`], [`build_info`] ← [`device`] ← [`telemetry`] ← [`scheduler`]
//!   ← [`problem`] ← [`access`] ← [`http`], [`management`] ← [`service`] ← [`config`] ← [`cli`]. [`connections`], below
//!   [`http`], knows [`lifecycle`], [`problem`] and [`telemetry`] only. [`http`] and [`management`] do not know each other.
//! - Nothing in [`work`] or [`device`] knows tokio or warp. Nothing outside [`device::gpu`] knows wgpu.
//! - [`work::Work::verify`] checks every answer before it leaves: a [`work::Work`] cannot be made otherwise.
//! - `unsafe` stands in the SIMD kernels and the probe beside them, where the shader is loaded and where a driver is asked
//!   for dot products, and nowhere else: the compiler denies it.

#[cfg(not(target_os = "linux"))]
compile_error!("the work server runs on Linux; elsewhere, run its container image");

pub mod access;
pub mod build_info;
pub mod cli;
pub mod config;
pub mod connections;
pub mod device;
pub mod http;
pub mod lifecycle;
pub mod management;
mod milliseconds;
pub mod problem;
pub mod scheduler;
pub mod service;
pub mod telemetry;
pub mod work;

// The tests' shared code uses the name that the crate has outside.
#[cfg(test)]
extern crate self as atto_work_server;
#[cfg(test)]
#[path = "../tests/support/needs.rs"]
#[allow(dead_code, reason = "only a card is needed here")]
mod needs;
