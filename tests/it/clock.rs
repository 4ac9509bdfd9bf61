//! A machine whose clock is not set: the real binary, with a library in front of the system's clock.

use std::fs;
use std::process::Command;

use crate::support::http::{exchange, get, post_works};
use crate::support::{PORTS, Server, request, target, work_server};

/// Shows a time in January 1970.
const CLOCK: &str = r"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_REALTIME)
        time->tv_sec %= 1000000;
    return failed;
}
";

#[test]
fn a_server_whose_clock_is_not_set_is_not_ready_and_says_so() {
    let folder = std::env::temp_dir().join(format!("clock-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let [source, library] = ["clock.c", "clock.so"].map(|name| folder.join(name));
    fs::write(&source, CLOCK).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.unwrap().success());
    let mut command =
        work_server(&[&["serve", "--backend", "cpu", "--threads", "1"], &PORTS[..]].concat());
    command.env("LD_PRELOAD", &library);
    let server = Server::spawn(command);
    fs::remove_dir_all(&folder).unwrap();
    for (path, status) in [
        ("/health", 503),
        ("/health/readiness", 503),
        // A restart would not set it.
        ("/health/liveness", 200),
    ] {
        assert_eq!(get(server.management, path).status, status, "{path}");
    }
    assert_eq!(get(server.address, "/health").status, 503);
    assert_eq!(
        exchange(server.address, "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").status,
        503
    );
    let answer = post_works(server.address, &request("LOCAL", &target(1)).to_string());
    let problem = answer.json();
    assert_eq!(
        (answer.status, &problem["code"]),
        (503, &"CLOCK_WRONG".into())
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("the server's clock shows 1970-01-"),
        "{detail}"
    );
    // It is no client's fault.
    let refused = "atto_work_requests_total{network=\"none\",outcome=\"clock_wrong\"}";
    assert_eq!(server.metric(refused), 1.0);
    let status = get(server.management, "/status.json").json();
    assert_eq!(status["server"]["clock_is_set"], false);
}
