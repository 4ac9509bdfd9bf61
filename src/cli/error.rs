//! Why commands fail.

use std::io;
use std::path::PathBuf;

use crate::access::{InvalidKey, KeysError};
use crate::device::gpu::SpirvError;
use crate::device::{DeviceError, OpenError};
use crate::scheduler::SolveError;
use crate::service::ServiceError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "{0}; choose another device with --device or --backend; `work-server devices` lists them"
    )]
    Device(#[from] DeviceError),
    #[error(
        "{0}; the lines above say why; `work-server devices` lists the devices for --device and --backend"
    )]
    Solve(#[from] SolveError),
    #[error(transparent)]
    Spirv(#[from] SpirvError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("{0}; `work-server hash-key --generate` makes one")]
    Key(#[from] InvalidKey),
    #[error(
        "{} cannot be written: {error}; name a file in an existing folder that this user may write to, or - for standard \
         output",
        path.display()
    )]
    Output { path: PathBuf, error: io::Error },
    /// Flags that exclude each other or are missing.
    #[error("{0}")]
    Usage(String),
    #[error("the report cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}
