//! `work-server shader`: the search shader as it is loaded, to look at or to compile with other tools.
//!
//! The flag `--form` and the JSON member `forms` name the kernels of a card.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::{CommandError, print};
use crate::device::gpu::Kernel;

#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    /// List the kernels, one per line
    #[arg(long, conflicts_with_all = ["form", "format", "output"])]
    list: bool,

    /// Print the list as a JSON object
    #[arg(long, requires = "list", conflicts_with_all = ["form", "format", "output"])]
    json: bool,

    /// The kernel to write, one of those that --list names
    #[arg(
        long,
        required_unless_present = "list",
        requires = "output",
        hide_possible_values = true
    )]
    form: Option<Kernel>,

    /// Write it in this format [default: spirv, as it is loaded]
    #[arg(long, requires = "form")]
    format: Option<Format>,

    /// The file to write to; `-` is standard output
    #[arg(long, value_name = "FILE", requires = "form")]
    output: Option<PathBuf>,
}

/// The format of a shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Text; only for kernels that WGSL can express
    Wgsl,
    /// SPIR-V 1.0 in little-endian words
    Spirv,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(rename = "forms")]
    kernels: Vec<ListedKernel>,
}

#[derive(Debug, Serialize)]
struct ListedKernel {
    name: Kernel,
    /// Its source: WGSL if that can express the kernel.
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    if let (Some(kernel), Some(output)) = (args.form, &args.output) {
        write(output, &bytes(kernel, args.format)?)?;
    } else {
        list(args.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) -> Result<(), CommandError> {
    if json {
        let listed = |name: Kernel| ListedKernel {
            name,
            format: if name.is_wgsl() {
                Format::Wgsl
            } else {
                Format::Spirv
            },
        };
        let kernels = Kernel::ALL.map(listed).into();
        return Ok(print(serde_json::to_string(&Report { kernels })?)?);
    }
    for kernel in Kernel::ALL {
        print(kernel)?;
    }
    Ok(())
}

/// The kernel in this format, or as it is loaded.
fn bytes(kernel: Kernel, format: Option<Format>) -> Result<Vec<u8>, CommandError> {
    match format {
        Some(Format::Wgsl) if kernel.is_wgsl() => Ok(kernel.wgsl().into_bytes()),
        Some(Format::Wgsl) => Err(CommandError::Usage(format!(
            "--format wgsl: the kernel {kernel} exists only as SPIR-V, since WGSL cannot express it; \
             leave --format out, or choose spirv"
        ))),
        None | Some(Format::Spirv) => {
            let words = kernel.spirv()?;
            Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
        }
    }
}

fn write(output: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    if output == Path::new("-") {
        return Ok(io::stdout().lock().write_all(bytes)?);
    }
    File::create(output)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| CommandError::Output {
            path: output.to_owned(),
            error,
        })
}
