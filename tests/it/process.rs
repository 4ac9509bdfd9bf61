//! The process beside its service: signals, limits of threads, and systemd. The real binary.

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, thread};

use rustix::process::{Signal, getuid};

use crate::support::http::get;
use crate::support::{PORTS, SOON, Server, eventually, work_server};

#[test]
fn a_hangup_without_a_file_of_keys_is_harmless() {
    let server = Server::on_cpu(&[]);
    server.signal(Signal::HUP);
    server.wait_for_log("SIGHUP ignored: there is no file of API keys to reload");
    assert_eq!(get(server.management, "/health").status, 200);
}

#[test]
fn where_threads_are_refused_the_server_serves_or_ends_and_says_why() {
    // A place that another user can run it from.
    let folder = std::env::temp_dir().join(format!("work-server-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("work-server");
    fs::copy(env!("CARGO_BIN_EXE_work-server"), &program).unwrap();
    let mut ended = 0;
    for limit in 1..=12 {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={limit}")).arg(&program);
        command.args(["serve", "--backend", "cpu", "--threads", "1"]);
        command.args(PORTS).env("RUST_LOG", "info");
        // The limit does not apply to root, and counts everything that runs as the user.
        if getuid().is_root() {
            command.uid(54_321).gid(54_321);
        }
        let log = folder.join(format!("log-{limit}"));
        let output = fs::File::create(&log).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let text = || fs::read_to_string(&log).unwrap();
        eventually("it serves or ends", || {
            text().contains("\"ready\"") || child.try_wait().unwrap().is_some()
        });
        match child.try_wait().unwrap() {
            Some(status) => {
                assert_eq!(status.code(), Some(1), "{limit}: {}", text());
                assert!(text().contains("ulimit -u"), "{limit}: {}", text());
                ended += 1;
            }
            None => child.kill().unwrap(),
        }
        child.wait().unwrap();
    }
    fs::remove_dir_all(&folder).unwrap();
    assert!(ended > 0, "no limit was heeded");
}

#[test]
fn systemd_is_told_of_ready_alive_and_stopping() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("notify");
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let next = || {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("systemd is told");
        String::from_utf8(bytes[..length].to_vec())
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let mut command = work_server(&[&["serve", "--backend", "cpu"], &PORTS[..]].concat());
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "100000");
    let mut server = Server::spawn(command);
    assert_eq!(next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    server.terminate();
    let stopping = thread::scope(|scope| {
        let told =
            scope.spawn(|| std::iter::repeat_with(&next).find(|state| state != "WATCHDOG=1"));
        told.join().unwrap()
    });
    assert_eq!(stopping.as_deref(), Some("STOPPING=1"));
    assert_eq!(server.wait().code(), Some(0));
}
