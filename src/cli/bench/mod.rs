//! `work-server bench`: the search alone, device by device, without queue or network.

mod expected;
mod limits;
mod measurement;
mod processor;
mod threads;

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use self::expected::{Expected, KINDS, expected};
use self::measurement::{Measurement, measure};
use super::error::CommandError;
use super::output::print;
use super::terminal::{self, Column};
use crate::config::DeviceArgs;
use crate::device::gpu::{self, AdapterKind};
use crate::device::{self, Backend, Device};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) devices: DeviceArgs,

    /// How many seconds each device is measured [range: 1 to 3600]
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Print a JSON object: `devices`, a measurement of each, and `together`, the sum of their rates. Both have
    /// `networks`, the seconds for one work; NANO has one entry for a send and one for a receive
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    devices: Vec<Measurement>,
    /// All devices at once, by the sum of their rates.
    together: Together,
}

#[derive(Debug, Serialize)]
struct Together {
    hashes_per_second: f64,
    networks: [Expected; KINDS],
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let opened = device::open(&args.devices.choice())?;
    let duration = Duration::from_secs(args.seconds);
    let mut devices = opened.devices;
    if devices.is_empty() {
        let fallback = opened.fallback.map(|fallback| fallback.open());
        devices.extend(fallback.transpose()?);
    }
    let software = software_adapters(&devices);
    let measured = devices.into_iter().map(|device| {
        let is_software = software.contains(&device.info.name);
        measure(device, is_software, duration)
    });
    let devices = measured.collect::<Result<Vec<_>, _>>()?;
    let hashes_per_second = devices.iter().map(|device| device.hashes_per_second).sum();
    let report = Report {
        devices,
        together: Together {
            hashes_per_second,
            networks: expected(hashes_per_second),
        },
    };
    if args.json {
        print(serde_json::to_string(&report)?)?;
    } else {
        print_tables(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of the software adapters. Empty, without listing them, if none of these devices is a card.
fn software_adapters(devices: &[Device]) -> Vec<String> {
    let is_card = |device: &Device| device.info.backend == Backend::Gpu;
    let adapters = if devices.iter().any(is_card) {
        // Unlikely to fail: the open cards were listed before.
        gpu::adapters().unwrap_or_default()
    } else {
        Vec::new()
    };
    let software = adapters.iter().map(gpu::Adapter::info);
    let software = software.filter(|info| info.kind == AdapterKind::Software);
    software.map(|info| info.label.clone()).collect()
}

fn print_tables(report: &Report) -> Result<(), CommandError> {
    let rate = |rate: f64| format!("{}/s", terminal::hashes(rate));
    let mut rates: Vec<_> = report
        .devices
        .iter()
        .map(|device| {
            let cycles = device.cycles_per_hash;
            [
                device.name.clone(),
                device.kernel.clone(),
                device.threads.to_string(),
                rate(device.hashes_per_second),
                cycles.map_or("-".to_owned(), |cycles| format!("{cycles:.1}")),
                device.limited_by.clone(),
            ]
        })
        .collect();
    let mut times = Vec::new();
    let mut add = |name: &str, networks: &[Expected; KINDS]| {
        let row = |what: &str, figure: fn(&Expected) -> f64| {
            let [live, beta, dev, local, send, receive] = networks
                .each_ref()
                .map(|network| terminal::seconds(figure(network)));
            [
                format!("{name}, {what}"),
                live,
                beta,
                dev,
                local,
                send,
                receive,
            ]
        };
        times.push(row("expected", |network| network.expected_seconds));
        times.push(row("p99", |network| network.p99_seconds));
    };
    for device in &report.devices {
        add(&device.name, &device.networks);
    }
    if report.devices.len() > 1 {
        let sum = rate(report.together.hashes_per_second);
        let note = "the sum; each was measured alone";
        rates.push(["all together", "", "", &sum, "", note].map(str::to_owned));
        add("all together", &report.together.networks);
    }
    let header = [
        ("Device", Column::Text),
        ("Kernel", Column::Word),
        ("Threads", Column::Figure),
        ("Rate", Column::Figure),
        ("Cycles/hash", Column::Figure),
        ("Limited by", Column::Text),
    ];
    print(terminal::figures(header, &rates))?;
    let titles = report.together.networks.each_ref().map(Expected::title);
    let [live, beta, dev, local, send, receive] = titles
        .each_ref()
        .map(|title| (title.as_str(), Column::Figure));
    let header = [
        ("Seconds for one work", Column::Text),
        live,
        beta,
        dev,
        local,
        send,
        receive,
    ];
    Ok(print(terminal::figures(header, &times))?)
}
