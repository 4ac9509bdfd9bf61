//! What the server listens on by default where there is IPv6, IPv4, or both: the real binary in network namespaces.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;

use crate::support::http::{get, post_works};
use crate::support::needs::{Need, enter_namespace, is_left_out};
use crate::support::{Server, assert_work, request, target, work_server};

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

/// Runs as the test, and as the process within the namespace. `setup` is a shell script that runs there first.
fn within_namespace(test: &str, setup: &str, part: impl FnOnce()) {
    const PART: &str = "PART_IN_THIS_TEST";
    if std::env::var_os(PART).is_some() {
        return part();
    }
    if is_left_out(Need::Namespaces) {
        return;
    }
    let [program, args @ ..] = enter_namespace().expect("it is not left out") else {
        panic!("no command");
    };
    let script = format!("ip link set lo up && {setup} && exec \"$0\" \"$@\"");
    let output = Command::new(program)
        .args(args)
        .args(["sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("addresses::{test}"), "--nocapture"])
        .env(PART, "within")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:#?}");
}

/// Starts a server on its default ports. Both must answer at these addresses and at no others.
fn assert_served_at(addresses: &[&str]) {
    let server = Server::spawn(work_server(&["--backend", "cpu"]));
    let messages: Vec<_> = server
        .starting
        .iter()
        .map(|line| &line["message"])
        .collect();
    assert!(
        messages
            .iter()
            .any(|message| *message == "started on port 8080 (http)"),
        "{messages:?}"
    );
    for ip in [V4, V6] {
        let at = |port| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port);
        if !addresses.contains(&ip) {
            assert!(TcpListener::bind(at(0)).is_err(), "there is no {ip} here");
            continue;
        }
        assert_eq!(get(at(8081), "/health").status, 200, "{ip}");
        let request = request("LOCAL", &target(1));
        assert_work(&post_works(at(8080), &request.to_string()), &request);
    }
    let health = work_server(&["health"]).output().unwrap();
    assert!(health.status.success(), "{health:?}");
}

#[test]
fn a_machine_with_both_families_is_served_over_both() {
    within_namespace(
        "a_machine_with_both_families_is_served_over_both",
        "true",
        || {
            assert_served_at(&[V4, V6]);
        },
    );
}

#[test]
fn a_machine_with_ipv6_alone_is_served() {
    let setup = "ip address delete 127.0.0.1/8 dev lo";
    within_namespace("a_machine_with_ipv6_alone_is_served", setup, || {
        assert_served_at(&[V6]);
    });
}

#[test]
fn a_machine_with_ipv4_alone_is_served() {
    let setup = "ip address delete ::1/128 dev lo";
    within_namespace("a_machine_with_ipv4_alone_is_served", setup, || {
        assert_served_at(&[V4]);
    });
}

#[test]
fn the_error_of_a_port_in_use_names_the_address_family() {
    let test = "the_error_of_a_port_in_use_names_the_address_family";
    within_namespace(test, "true", || {
        for (takers, family) in [
            (&[V4][..], "on IPv4;"),
            (&[V6], "on IPv6;"),
            (&[V4, V6], "on IPv4 and IPv6;"),
        ] {
            for (port, option) in [(8080, "--address"), (8081, "--management-address")] {
                let at = |ip: &&str| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port);
                let _taken: Vec<_> = takers
                    .iter()
                    .map(|ip| TcpListener::bind(at(ip)).unwrap())
                    .collect();
                let output = work_server(&["--backend", "cpu"]).output().unwrap();
                assert_eq!(output.status.code(), Some(1), "{output:?}");
                let log = String::from_utf8(output.stdout).unwrap();
                for part in [&format!("[::]:{port}"), family, option] {
                    assert!(log.contains(part), "no {part}: {log}");
                }
            }
        }
    });
}
