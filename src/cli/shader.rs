//! `work-server shader`: the search shader as it is loaded, to look at or to compile with other tools.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::{CommandError, print};
use crate::device::gpu::{Form, Module};

#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    /// List the forms, one a line
    #[arg(long, conflicts_with_all = ["form", "format", "output"])]
    list: bool,

    /// Print the list as a JSON object
    #[arg(long, requires = "list", conflicts_with_all = ["form", "format", "output"])]
    json: bool,

    /// The form to write
    #[arg(
        long,
        required_unless_present = "list",
        requires = "output",
        hide_possible_values = true
    )]
    form: Option<Form>,

    /// Write it as this [default: as it is loaded]
    #[arg(long, requires = "form")]
    format: Option<Format>,

    /// The file to write to; `-` is standard output
    #[arg(long, value_name = "FILE", requires = "form")]
    output: Option<PathBuf>,
}

/// What a shader is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Text; only of the forms that are loaded as such
    Wgsl,
    /// SPIR-V in little-endian words; of a form that is loaded as WGSL, what wgpu makes of it
    Spirv,
}

#[derive(Debug, Serialize)]
struct Report {
    forms: Vec<ListedForm>,
}

#[derive(Debug, Serialize)]
struct ListedForm {
    name: Form,
    /// What it is loaded as.
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    if let (Some(form), Some(output)) = (args.form, &args.output) {
        write(output, &bytes(form, args.format)?)?;
    } else {
        list(args.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) -> Result<(), CommandError> {
    let mut forms = Vec::new();
    for name in Form::ALL {
        let format = match name.module()? {
            Module::Wgsl(_) => Format::Wgsl,
            Module::Spirv(_) => Format::Spirv,
        };
        forms.push(ListedForm { name, format });
    }
    if json {
        return Ok(print(serde_json::to_string(&Report { forms })?)?);
    }
    for form in forms {
        print(form.name)?;
    }
    Ok(())
}

/// The form's module in this format, or in that in which it is loaded.
fn bytes(form: Form, format: Option<Format>) -> Result<Vec<u8>, CommandError> {
    let words = match (form.module()?, format) {
        (Module::Wgsl(text), None | Some(Format::Wgsl)) => return Ok(text.into_bytes()),
        (Module::Spirv(_), Some(Format::Wgsl)) => {
            return Err(CommandError::Usage(format!(
                "--format wgsl: the form {form} exists only as SPIR-V, since WGSL cannot say it; \
                 leave --format out, or choose spirv"
            )));
        }
        (Module::Spirv(words), None | Some(Format::Spirv)) => words,
        (Module::Wgsl(_), Some(Format::Spirv)) => form.spirv()?,
    };
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
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
