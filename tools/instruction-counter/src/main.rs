//! Counts what one nonce costs on AMD's or Intel's cards, for every kernel, and compares it with the allowed maximum.
//! `../count-instructions` runs this with all it needs.

mod listing;
mod vulkan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: instruction-counter DRIVER WORK_SERVER MANIFEST LIMITS [SHIM]
  DRIVER       radv or anv
  WORK_SERVER  the program that writes the shaders
  MANIFEST     the JSON file by which the Vulkan loader finds the driver
  LIMITS       the TOML file of the counts that are allowed
  SHIM         for anv, the library that answers in place of the kernel";
const ENTRY_POINT: &std::ffi::CStr = c"search";

/// A driver of Mesa.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Driver {
    Radv,
    Anv,
}

impl Driver {
    const fn name(self) -> &'static str {
        match self {
            Self::Radv => "radv",
            Self::Anv => "anv",
        }
    }

    fn named(name: &str) -> Result<Self> {
        [Self::Radv, Self::Anv]
            .into_iter()
            .find(|driver| driver.name() == name)
            .with_context(|| format!("{name} is no driver\n{USAGE}"))
    }

    /// The environment variable that names the family of cards.
    fn family_variable(self) -> &'static str {
        match self {
            Self::Radv => "RADV_FORCE_FAMILY",
            Self::Anv => "INTEL_STUB_GPU_PLATFORM",
        }
    }

    /// What is counted.
    fn title(self) -> &'static str {
        match self {
            Self::Radv => "Vector instructions a nonce, and the most allowed, after Mesa's RADV",
            Self::Anv => "Operations on 32 bits a nonce, and the most allowed, after Mesa's ANV",
        }
    }

    fn count(self, compiled: &vulkan::Compiled) -> Result<usize> {
        let listing = &compiled.listing;
        match self {
            Self::Radv => listing::radv::vector_instructions_a_turn(listing),
            Self::Anv => {
                listing::anv::operations_a_turn(listing, compiled.width, compiled.least_width)
            }
        }
    }
}

/// The counts that are allowed with a driver.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// The version that they were counted with, as the driver begins to tell it.
    driver: String,
    /// Family of cards, kernel, count.
    limits: BTreeMap<String, BTreeMap<String, usize>>,
}

/// What the process of one family prints for one module.
#[derive(Deserialize, Serialize)]
struct Count {
    driver: String,
    count: usize,
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

/// How a driver is started.
struct Start<'a> {
    driver: Driver,
    manifest: &'a str,
    shim: Option<&'a str>,
}

fn main() -> Result<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    match &args[..] {
        [driver, module] => {
            let count = count(Driver::named(driver)?, Path::new(module))?;
            println!("{}", serde_json::to_string(&count)?);
            Ok(ExitCode::SUCCESS)
        }
        [driver, work_server, manifest, limits, shim @ ..] if shim.len() <= 1 => {
            let start = Start {
                driver: Driver::named(driver)?,
                manifest,
                shim: shim.first().map(String::as_str),
            };
            let text = fs::read_to_string(limits).with_context(|| limits.clone())?;
            let all: BTreeMap<Driver, Limits> = toml::from_str(&text)?;
            let limits = all
                .get(&start.driver)
                .with_context(|| format!("{limits} has nothing for {driver}"))?;
            compare(work_server, &start, limits)
        }
        _ => bail!("{USAGE}"),
    }
}

/// Counts one module for the family that the environment names.
fn count(driver: Driver, module: &Path) -> Result<Count> {
    let bytes = fs::read(module).with_context(|| module.display().to_string())?;
    let (words, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "{} is not made of words", module.display());
    let words: Vec<u32> = words.iter().copied().map(u32::from_le_bytes).collect();
    let compiled = vulkan::compile(&words, ENTRY_POINT)?;
    Ok(Count {
        count: driver.count(&compiled)?,
        driver: compiled.driver,
    })
}

/// Prints the table of all counts and what is wrong with it.
fn compare(work_server: &str, start: &Start, limits: &Limits) -> Result<ExitCode> {
    let folder = env::temp_dir().join(format!("instruction-counter-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let table = table(work_server, start, limits, &folder);
    fs::remove_dir_all(&folder)?;
    let Table { drivers, faults } = table?;

    let expected = &limits.driver;
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

/// Counts every kernel for every family and prints the table. The modules are written to the folder.
fn table(work_server: &str, start: &Start, limits: &Limits, folder: &Path) -> Result<Table> {
    let limits = &limits.limits;
    let listed = output(Command::new(work_server).args(["shader", "--list", "--json"]))?;
    let forms = serde_json::from_slice::<Listed>(&listed)?.forms;
    let families: String = limits
        .keys()
        .map(|family| format!("{family:>18}"))
        .collect();
    println!("{}:\n{:<10}{families}", start.driver.title(), "kernel");
    let mut drivers = BTreeSet::new();
    let mut faults = Vec::new();
    for Form { name: form } in forms {
        let module = folder.join(format!("{form}.spv"));
        let args = ["shader", "--form", &form, "--format", "spirv", "--output"];
        output(Command::new(work_server).args(args).arg(&module))?;
        let mut row = format!("{form:<10}");
        for (family, limits) in limits {
            let Count { driver, count } = count_for(family, start, &module)?;
            drivers.insert(driver);
            let shown = match limits.get(&form) {
                None => {
                    faults.push(format!("{form} has no limit for {family}"));
                    "none".to_owned()
                }
                Some(limit) => {
                    if count > *limit {
                        faults.push(format!(
                            "{form} takes {count} on {family}, more than {limit}"
                        ));
                    }
                    limit.to_string()
                }
            };
            row += &format!("{:>18}", format!("{count} ({shown})"));
        }
        println!("{row}");
    }
    Ok(Table { drivers, faults })
}

/// In a process of its own, as the driver reads the family but once.
fn count_for(family: &str, start: &Start, module: &Path) -> Result<Count> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg(start.driver.name())
        .arg(module)
        .env(start.driver.family_variable(), family)
        .env("VK_DRIVER_FILES", start.manifest)
        // The same for loaders before 1.3.207.
        .env("VK_ICD_FILENAMES", start.manifest)
        .env("MESA_SHADER_CACHE_DISABLE", "true");
    if let Some(shim) = start.shim {
        command.env("LD_PRELOAD", shim);
    }
    let printed = output(&mut command).with_context(|| family.to_owned())?;
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
