//! Counts the vector instructions that one nonce costs on AMD's cards, for every kernel, and compares them with the allowed
//! maximum. `../count-instructions` runs this with all it needs.

mod listing;
mod radv;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: instruction-counter WORK_SERVER MANIFEST LIMITS
  WORK_SERVER  the program that writes the shaders
  MANIFEST     the JSON file by which the Vulkan loader finds RADV
  LIMITS       the TOML file of the counts that are allowed";
const FAMILY: &str = "RADV_FORCE_FAMILY";
const ENTRY_POINT: &std::ffi::CStr = c"search";

/// The counts that are allowed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    radv: Radv,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Radv {
    /// The version that they were counted with, as the driver begins to tell it.
    driver: String,
    /// Family of cards, form, vector instructions a nonce.
    limits: BTreeMap<String, BTreeMap<String, usize>>,
}

/// What the process of one family prints for one module.
#[derive(Deserialize, Serialize)]
struct Count {
    driver: String,
    instructions: usize,
}

/// What `work-server shader --list --json` prints, as far as it is needed.
#[derive(Deserialize)]
struct Listed {
    forms: Vec<Form>,
}

#[derive(Deserialize)]
struct Form {
    name: String,
}

fn main() -> Result<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    match (&args[..], env::var(FAMILY)) {
        ([module], Ok(_)) => {
            let count = count(Path::new(module))?;
            println!("{}", serde_json::to_string(&count)?);
            Ok(ExitCode::SUCCESS)
        }
        ([work_server, manifest, limits], _) => {
            let limits = fs::read_to_string(limits).with_context(|| limits.clone())?;
            compare(work_server, manifest, &toml::from_str(&limits)?)
        }
        _ => bail!("{USAGE}"),
    }
}

/// Counts one module for the family that the environment names.
fn count(module: &Path) -> Result<Count> {
    let bytes = fs::read(module).with_context(|| module.display().to_string())?;
    let (words, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "{} is not made of words", module.display());
    let words: Vec<u32> = words.iter().copied().map(u32::from_le_bytes).collect();
    let compiled = radv::compile(&words, ENTRY_POINT)?;
    Ok(Count {
        driver: compiled.driver,
        instructions: listing::vector_instructions_a_turn(&compiled.listing)?,
    })
}

/// Prints the table of all counts and what is wrong with it.
fn compare(work_server: &str, manifest: &str, limits: &Limits) -> Result<ExitCode> {
    let folder = env::temp_dir().join(format!("instruction-counter-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let table = table(work_server, manifest, limits, &folder);
    fs::remove_dir_all(&folder)?;
    let Table { drivers, faults } = table?;

    let expected = &limits.radv.driver;
    if let Some(other) = drivers
        .iter()
        .find(|driver| !driver.starts_with(expected.as_str()))
    {
        println!("not compared: the limits are for {expected}, and this is {other}");
        return Ok(ExitCode::SUCCESS);
    }
    for fault in &faults {
        eprintln!("instruction-counter: {fault}");
    }
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the table came to.
struct Table {
    /// What the drivers call themselves.
    drivers: BTreeSet<String>,
    /// Where a limit is exceeded or missing.
    faults: Vec<String>,
}

/// Counts every form for every family and prints the table. The modules are written to the folder.
fn table(work_server: &str, manifest: &str, limits: &Limits, folder: &Path) -> Result<Table> {
    let limits = &limits.radv.limits;
    let listed = output(Command::new(work_server).args(["shader", "--list", "--json"]))?;
    let forms = serde_json::from_slice::<Listed>(&listed)?.forms;
    let families: String = limits
        .keys()
        .map(|family| format!("{family:>18}"))
        .collect();
    println!(
        "Vector instructions a nonce, and the most allowed, after Mesa's RADV:\n{:<10}{families}",
        "form"
    );
    let mut drivers = BTreeSet::new();
    let mut faults = Vec::new();
    for Form { name: form } in forms {
        let module = folder.join(format!("{form}.spv"));
        let args = ["shader", "--form", &form, "--format", "spirv", "--output"];
        output(Command::new(work_server).args(args).arg(&module))?;
        let mut row = format!("{form:<10}");
        for (family, limits) in limits {
            let Count {
                driver,
                instructions,
            } = count_for(family, manifest, &module)?;
            drivers.insert(driver);
            let shown = match limits.get(&form) {
                None => {
                    faults.push(format!("{form} has no limit for {family}"));
                    "none".to_owned()
                }
                Some(limit) => {
                    if instructions > *limit {
                        faults.push(format!(
                            "{form} takes {instructions} on {family}, more than {limit}"
                        ));
                    }
                    limit.to_string()
                }
            };
            row += &format!("{:>18}", format!("{instructions} ({shown})"));
        }
        println!("{row}");
    }
    Ok(Table { drivers, faults })
}

/// In a process of its own, as the driver reads the family but once.
fn count_for(family: &str, manifest: &str, module: &Path) -> Result<Count> {
    let printed = output(
        Command::new(env::current_exe()?)
            .arg(module)
            .env(FAMILY, family)
            .env("VK_DRIVER_FILES", manifest)
            // The same for loaders before 1.3.207.
            .env("VK_ICD_FILENAMES", manifest)
            .env("MESA_SHADER_CACHE_DISABLE", "true"),
    )
    .with_context(|| family.to_owned())?;
    Ok(serde_json::from_slice(&printed)?)
}

/// What the command prints, if it succeeds.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {told}",
        output.status
    );
    Ok(output.stdout)
}
