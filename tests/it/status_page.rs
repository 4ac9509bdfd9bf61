//! What an operator sees: the status page in a real browser, while things happen to the server.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::devices::{Service, fake, honest, honest_engine, limits, reopened_by};
use crate::support::http::{get, post_works};
use crate::support::needs::{Need, is_left_out};
use crate::support::{Server, assert_work, eventually, request, target};
use atto_work_server::device::{self, Device, DeviceError};

/// Has the browser look at the page of this management port, and `act` do what it asks for.
fn look(what: &str, management: SocketAddr, mut act: impl FnMut(&str)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/status_page");
    // The script has time-outs of its own, so this ends.
    let mut script = Command::new("node")
        .arg(folder.join("look.mjs"))
        .args([what, &format!("http://{management}/")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut answers = script.stdin.take().expect("it is piped");
    let lines = BufReader::new(script.stdout.take().expect("it is piped")).lines();
    for line in lines.map_while(Result::ok) {
        let step = line.strip_prefix("step ").expect("a step");
        act(step);
        writeln!(answers, "done").expect("the script waits");
    }
    let status = script.wait().expect("it can be waited for");
    assert!(status.success(), "look.mjs {what} ended with {status}");
}

/// A card that is lost while it is not well.
fn moody(is_well: &Arc<AtomicBool>) -> Device {
    let is_well = Arc::clone(is_well);
    let mut engine = honest_engine();
    fake("card", move |slice| {
        if is_well.load(Ordering::Relaxed) {
            device::search(&mut *engine, slice.clone())
        } else {
            Err(lost())
        }
    })
}

/// In words that a page must not take for its own.
fn lost() -> DeviceError {
    DeviceError::Lost("fell off the <b>bus</b>".to_owned())
}

#[test]
fn what_happens_is_shown() {
    if is_left_out(Need::Browser) {
        return;
    }
    let is_well = Arc::new(AtomicBool::new(true));
    let mood = Arc::clone(&is_well);
    let card = reopened_by(moody(&is_well), move || {
        if mood.load(Ordering::Relaxed) {
            Ok(moody(&mood))
        } else {
            Err(lost())
        }
    });
    let mut service = Service::with_limits(limits(4, 16), vec![card, honest()], None);
    let (address, management) = (service.address, service.management);
    let mut number = 0;
    let mut serve = || {
        number += 1;
        let request = request("LOCAL", &target(number));
        assert_work(&post_works(address, &request.to_string()), &request);
    };
    let state = || {
        let status = get(management, "/status.json").json();
        status["devices"][0]["state"].clone()
    };
    look("what-happens", management, |step| match step {
        "load" => (0..20).for_each(|_| serve()),
        "fail" => {
            is_well.store(false, Ordering::Relaxed);
            // The other device may be the first to be asked.
            eventually("the card is down", || {
                serve();
                state() == "down"
            });
        }
        "heal" => {
            is_well.store(true, Ordering::Relaxed);
            eventually("the card is back", || state() == "up");
        }
        "stop" => service.stop(),
        step => panic!("{step}?"),
    });
}

#[test]
fn the_page_is_for_everybody() {
    if is_left_out(Need::Browser) {
        return;
    }
    let server = Server::on_cpu(&[]);
    for number in 0..5 {
        let request = request("LOCAL", &target(number));
        assert_work(&post_works(server.address, &request.to_string()), &request);
    }
    look("for-everybody", server.management, |step| panic!("{step}?"));
}

#[test]
fn answers_of_every_kind_are_understood() {
    if is_left_out(Need::Browser) {
        return;
    }
    let server = Server::on_cpu(&["--threads", "1"]);
    look("answers", server.management, |step| panic!("{step}?"));
}
