//! Proof-of-work server for the Atto network: Blake2b on graphics cards through Vulkan and on processors
//! through SIMD, behind `POST /works`.
//!
//! One request, from the socket to the device and back:
//!
//! ```text
//! POST /works -> http::works (read)  -> work::WorkRequest (validate) -> scheduler::Scheduler::solve (queue)
//!             -> scheduler::worker (one thread an engine) -> device::Engine (a batch of slices of nonces)
//!             -> work::Work::verify (the reference hash)  -> http::works (200 {"work": …})
//! ```
//!
//! # Invariants
//!
//! - Modules depend downwards only: [`work`] ← [`device`] ← [`scheduler`] ← [`connections`] ← [`http`],
//!   [`management`] ← [`service`] ← [`config`], [`cli`]. [`telemetry`] may be called from all but the first two.
//!   [`build_info`] depends on nothing.
//! - Nothing in [`work`] or [`device`] knows tokio or warp; nothing outside [`device::gpu`] knows wgpu.
//! - Nothing is answered that [`work::Work::verify`] has not seen: a [`work::Work`] cannot be made otherwise.
//! - `unsafe` stands only in the SIMD kernels and where the shader is loaded.

pub mod access;
pub mod build_info;
pub mod cli;
pub mod config;
pub mod connections;
pub mod device;
pub mod http;
pub mod lifecycle;
pub mod management;
pub mod problem;
pub mod scheduler;
pub mod service;
pub mod telemetry;
pub mod work;
