//! The real binary on Vulkan devices, one and two.
//!
//! A second device is had by naming lavapipe to the Vulkan loader twice. Without it these tests are left out.

use std::path::PathBuf;
use std::thread;

use crate::support::http::{get, post_works};
use crate::support::needs::{Need, is_left_out, lavapipe_manifest};
use crate::support::{PORTS, Server, assert_work, eventually, request, target, work_server};

/// A second name for lavapipe, to be added to those that the Vulkan loader finds by itself.
pub(crate) fn second_manifest() -> PathBuf {
    let installed = lavapipe_manifest().expect("it was found before");
    let copy = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("second_lavapipe.json");
    // At once: other tests may be reading it.
    let new = copy.with_extension(format!("{:?}", thread::current().id()));
    std::fs::copy(installed, &new).expect("it can be copied");
    std::fs::rename(new, &copy).expect("it can be renamed");
    copy
}

/// A server on all Vulkan devices, of which there are two.
fn two_cards() -> Server {
    let mut command = work_server(&["serve", "--backend", "gpu", "--device", "llvmpipe"]);
    command
        .args(PORTS)
        .env("VK_ADD_DRIVER_FILES", second_manifest());
    Server::spawn(command)
}

/// The value of a metric for each device, in the devices' order.
fn by_device(server: &Server, metric: &str) -> Vec<f64> {
    let page = get(server.management, "/prometheus").body;
    let prefix = format!("{metric}{{device=\"llvmpipe");
    let lines = page.lines().filter(|line| line.starts_with(&prefix));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_hard_search_is_split_over_two_cards() {
    if is_left_out(Need::Lavapipe) {
        return;
    }
    let server = two_cards();
    let before = by_device(&server, "atto_work_hashes_total");
    assert_eq!(before, [0.0, 0.0]);
    // A hundred times as hard as LOCAL, so that both have a part of it before it is found, or else of the next.
    let mut number = 0;
    eventually("each card has tested a part", || {
        number += 1;
        let request = request("DEV", &target(number));
        assert_work(&post_works(server.address, &request.to_string()), &request);
        let hashes = by_device(&server, "atto_work_hashes_total");
        hashes.iter().all(|&hashes| hashes > 0.0)
    });
}

#[test]
fn many_clients_are_served_by_two_cards() {
    if is_left_out(Need::Lavapipe) {
        return;
    }
    let server = two_cards();
    let address = server.address;
    let batches = || -> f64 { by_device(&server, "atto_work_batches_total").iter().sum() };
    let mut round = 0;
    // On a machine that does other things too, a dispatch may be so short that a work takes several.
    eventually("several works share a dispatch", || {
        let before = batches();
        round += 1;
        let clients: Vec<_> = (0..16)
            .map(|client| {
                thread::spawn(move || {
                    for number in 0..10 {
                        let target = target(10_000 * round + 100 * client + number);
                        let request = request("LOCAL", &target);
                        assert_work(&post_works(address, &request.to_string()), &request);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        batches() - before < 160.0
    });
    let hashes = by_device(&server, "atto_work_hashes_total");
    assert!(hashes.iter().all(|&hashes| hashes > 0.0), "{hashes:?}");
    // As long as the server has run at most.
    let busy = by_device(&server, "atto_work_device_busy_seconds_total");
    let uptime = server.metric("process_uptime_seconds");
    assert!(
        busy.iter()
            .all(|busy| (0.0..uptime).contains(busy) && *busy > 0.0),
        "{busy:?} in {uptime}"
    );
}

#[test]
fn the_measured_rate_of_each_kernel_is_exported() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    let mut command = work_server(&["serve", "--backend", "gpu"]);
    command.args(PORTS);
    let server = Server::spawn(command);
    let page = get(server.management, "/prometheus").body;
    for name in ["u64", "pair", "insert"] {
        let kernel = format!("kernel=\"{name}\",");
        let line = page.lines().find(|line| {
            line.starts_with("atto_work_kernel_hashes_per_second") && line.contains(&kernel)
        });
        let rate: f64 = line
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{name}: {page}"));
        assert!(rate > 0.0, "{name}");
    }
}
