//! Restarts the process with the environment variables that the Vulkan loader needs to find a driver.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::device::gpu::discovery::{Machine, STARTED_AGAIN, variables_to_add};

/// The outcome of a restart. Logged later, since logging starts after the restart.
#[derive(Debug)]
pub(super) enum Restart {
    /// The Vulkan loader needs no more variables.
    NotNeeded,
    /// This is the restarted process.
    Done,
    /// The system cannot restart this program.
    Failed(io::Error),
}

impl Restart {
    pub(super) fn log(&self) {
        match self {
            Self::NotNeeded => {}
            Self::Done => {
                let variable = |name| env::var(name).ok();
                tracing::info!(
                    VK_ADD_DRIVER_FILES = variable("VK_ADD_DRIVER_FILES"),
                    LD_LIBRARY_PATH = variable("LD_LIBRARY_PATH"),
                    "restarted, so that the Vulkan loader finds the NVIDIA driver"
                );
            }
            Self::Failed(error) => {
                tracing::warn!(%error, "cannot restart with the variables that the Vulkan loader needs: it may not find the NVIDIA driver");
            }
        }
    }
}

/// Without this variable, Mesa's drivers complain on standard error that they cannot reach a display. None is needed.
const RUNTIME_FOLDER: &str = "XDG_RUNTIME_DIR";

/// Restarts the process, with the same process id and arguments, if the Vulkan loader needs more environment variables to
/// find NVIDIA's driver. If the command `is_quiet`, it also restarts to keep Mesa's drivers quiet. Returns if nothing is
/// missing, or if the restart fails.
///
/// Must be called before there are threads, files or sockets, which a restart loses.
pub(super) fn with_missing_variables(args: &[OsString], is_quiet: bool) -> Restart {
    let mut variables = variables_to_add(&Machine::here());
    let is_for_driver = !variables.is_empty();
    if is_quiet && env::var_os(RUNTIME_FOLDER).is_none() {
        // Nobody can put the socket of a display there.
        variables.push((RUNTIME_FOLDER, "/proc".to_owned()));
    }
    if !variables.is_empty() {
        let Err(error) = replace_process(args, &variables);
        if is_for_driver {
            return Restart::Failed(error);
        }
    }
    match env::var_os(STARTED_AGAIN) {
        Some(_) => Restart::Done,
        None => Restart::NotNeeded,
    }
}

/// Returns only if it fails.
fn replace_process(
    args: &[OsString],
    variables: &[(&'static str, String)],
) -> io::Result<Infallible> {
    let mut command = Command::new(env::current_exe()?);
    if let [name, args @ ..] = args {
        command.arg0(name).args(args);
    }
    let variables = variables.iter().map(|(name, value)| (name, value));
    Err(command.envs(variables).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs three times: as the test, as the process that it starts, and as that process restarted.
    #[test]
    fn the_process_keeps_its_id_and_its_arguments() {
        const PART: &str = "PART_IN_THIS_TEST";
        let name = "cli::restart::tests::the_process_keeps_its_id_and_its_arguments";
        match env::var(PART).as_deref() {
            Err(_) => {
                let mut command = Command::new(env::current_exe().unwrap());
                command.args(["--exact", name, "--nocapture"]).arg0("first");
                let child = command
                    .env(PART, "starts again")
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                let id = child.id();
                let output = child.wait_with_output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                let expected = format!("{id} [\"first\", \"--exact\", {name:?}, \"--nocapture\"]");
                assert!(text.contains(&expected), "no {expected} in {text}");
                assert!(output.status.success(), "{output:?}");
            }
            Ok("starts again") => {
                let args: Vec<_> = env::args_os().collect();
                let Err(error) = replace_process(&args, &[(PART, "has started".to_owned())]);
                panic!("{error}");
            }
            Ok(_) => {
                let args: Vec<_> = env::args_os().collect();
                println!("{} {args:?}", std::process::id());
            }
        }
    }
}
