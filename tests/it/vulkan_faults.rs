//! The real binary on a Vulkan driver that blocks, fails, crashes or lies, at the start and under load: lavapipe, below
//! the layer in `tests/vulkan-faults`, whose README has the words.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cards::second_manifest;
use crate::support::http::{get, post_works};
use crate::support::needs::{Need, is_left_out};
use crate::support::{PORTS, Server, assert_work, eventually, request, target, work_server};

/// How many servers run at once. They mostly wait.
const AT_ONCE: usize = 8;

/// How much longer than planned a busy machine may take.
const SLACK: Duration = Duration::from_secs(60);

/// The folder with the layer and its manifest.
fn layer() -> &'static Path {
    static LAYER: OnceLock<PathBuf> = OnceLock::new();
    LAYER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vulkan-faults");
        std::fs::create_dir_all(&folder).unwrap();
        let library = folder.join("libfaults.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vulkan-faults/layer.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"])
            .args(["-fvisibility=hidden", "-o"])
            .arg(&library)
            .arg(source)
            .status()
            .expect("there is a C compiler");
        assert!(
            compiled.success(),
            "the layer cannot be compiled: `tests/run` installs libvulkan-dev"
        );
        let manifest = serde_json::json!({
            "file_format_version": "1.1.2",
            "layer": {
                "name": "VK_LAYER_ATTO_faults",
                "type": "GLOBAL",
                "library_path": library,
                "api_version": "1.3.239",
                "implementation_version": "1",
                "description": "Makes a driver misbehave",
                "functions": {
                    "vkNegotiateLoaderLayerInterfaceVersion": "vkNegotiateLoaderLayerInterfaceVersion"
                }
            }
        });
        std::fs::write(folder.join("layer.json"), manifest.to_string()).unwrap();
        folder
    })
}

/// A driver that does what the words say.
struct Driver(PathBuf);

impl Driver {
    fn new(words: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let driver = Self(layer().join(format!("words-{}-{number}", std::process::id())));
        driver.say(words);
        driver
    }

    /// From now on.
    fn say(&self, words: &str) {
        // At once: the layer may read at any time.
        let new = self.0.with_extension("new");
        std::fs::write(&new, words).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    /// With one kernel for the card: what becomes of the others is the same, and they would be compiled by two cores for
    /// fifty servers.
    fn serve(&self, args: &[&str]) -> Command {
        let mut command = self.serve_with_all_kernels(args);
        command.args(["--kernel", "insert"]);
        command
    }

    fn serve_with_all_kernels(&self, args: &[&str]) -> Command {
        let mut command = self.on(work_server(&["serve", "--threads", "1"]));
        command.args(args);
        command
    }

    /// The command, on this driver.
    fn on(&self, mut command: Command) -> Command {
        command
            .env("VK_LAYER_PATH", layer())
            .env("VK_INSTANCE_LAYERS", "VK_LAYER_ATTO_faults")
            .env("VULKAN_FAULTS", &self.0)
            // Mesa's layer would call into this one in ways of its own.
            .env("NODEVICE_SELECT", "1")
            // Several servers share the machine.
            .env("LP_NUM_THREADS", "1");
        command
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Whatever still blocks may end.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn status(management: SocketAddr) -> Value {
    get(management, "/status.json").json()
}

/// The states of the devices whose names begin so.
fn states(management: SocketAddr, name: &str) -> Vec<String> {
    let status = status(management);
    let devices = status["devices"].as_array().unwrap().iter();
    let devices = devices.filter(|device| device["name"].as_str().unwrap().starts_with(name));
    devices
        .map(|device| device["state"].as_str().unwrap().to_owned())
        .collect()
}

fn assert_served(server: &Server) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let request = request("LOCAL", &target(number as u64));
    assert_work(&post_works(server.address, &request.to_string()), &request);
}

fn eventually_up(server: &Server, name: &str, count: usize) {
    eventually(&format!("{count} of {name} are up"), || {
        let states = states(server.management, name);
        states.iter().filter(|state| *state == "up").count() == count
    });
}

/// Which device serves at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    Card,
    Processor,
}

/// What becomes of the card when the fault has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It serves.
    Joins,
    /// The server believes the driver that there is no card.
    StaysAway,
    /// The fault stays, and the server ends without an error.
    Ends,
}

/// Words, what serves within how many seconds, what the status page says of it, and what comes then.
type Row = (&'static str, Serves, u64, &'static str, Then);

const AT_THE_START: &[Row] = {
    use Serves::{Card, Processor};
    use Then::{Ends, Joins, StaysAway};
    &[
        // Listing.
        (
            "instance:block",
            Processor,
            10,
            "listing the cards has not ended within 10s",
            Joins,
        ),
        (
            "instance:block",
            Processor,
            10,
            "listing the cards has not ended within 10s",
            Ends,
        ),
        (
            "instance:crash",
            Processor,
            0,
            "crashes while the cards are listed (signal: 11",
            Joins,
        ),
        (
            "instance:abort",
            Processor,
            0,
            "crashes while the cards are listed (signal: 6",
            Joins,
        ),
        (
            "instance:fail",
            Processor,
            0,
            "no sign of a graphics card",
            StaysAway,
        ),
        (
            "list:block",
            Processor,
            10,
            "listing the cards has not ended within 10s",
            Joins,
        ),
        (
            "list:crash",
            Processor,
            0,
            "crashes while the cards are listed (signal: 11",
            Joins,
        ),
        (
            "list:abort",
            Processor,
            0,
            "crashes while the cards are listed (signal: 6",
            Ends,
        ),
        (
            "list:fail",
            Processor,
            0,
            "no sign of a graphics card",
            StaysAway,
        ),
        (
            "list:none",
            Processor,
            0,
            "no sign of a graphics card",
            StaysAway,
        ),
        // Opening.
        (
            "device:block",
            Processor,
            10,
            "opening the card has not ended within 10s",
            Joins,
        ),
        (
            "device:block",
            Processor,
            10,
            "opening the card has not ended within 10s",
            Ends,
        ),
        ("device:fail", Processor, 0, "driver error", Joins),
        ("device:lost", Processor, 0, "lost", Joins),
        ("device:oom", Processor, 0, "memory", Joins),
        // Compiling.
        (
            "compile:block",
            Processor,
            10,
            "compiling the kernels has not ended within 10s",
            Joins,
        ),
        (
            "compile:block",
            Processor,
            10,
            "compiling the kernels has not ended within 10s",
            Ends,
        ),
        ("compile:block-one", Card, 0, "", Joins),
        (
            "compile:seconds=16",
            Processor,
            10,
            "compiling the kernels has not ended within 10s",
            Joins,
        ),
        ("compile:fail", Processor, 0, "", Joins),
        ("compile:oom", Processor, 0, "memory", Joins),
        // Proving.
        (
            "submit:block",
            Processor,
            10,
            "the self-test has not ended within 10s",
            Joins,
        ),
        (
            "submit:block",
            Processor,
            10,
            "the self-test has not ended within 10s",
            Ends,
        ),
        ("submit:lost", Processor, 0, "lost", Joins),
        ("submit:oom", Processor, 0, "memory", Joins),
        (
            "wait:block",
            Processor,
            10,
            "the self-test has not ended within 10s",
            Joins,
        ),
        (
            "wait:block",
            Processor,
            10,
            "the self-test has not ended within 10s",
            Ends,
        ),
        ("wait:lost", Processor, 0, "lost", Joins),
        ("wait:timeout", Processor, 10, "within 10s", Joins),
        ("dispatch:half", Processor, 0, "wrong answer", Joins),
        ("dispatch:none", Processor, 0, "wrong answer", Joins),
        (
            "destroy:block",
            Processor,
            10,
            "has not ended within 10s",
            Joins,
        ),
        // What is no fault.
        ("tick=0", Card, 0, "", Ends),
        ("tick=nan", Card, 0, "", Ends),
        ("ticks=9,1", Card, 0, "", Ends),
        ("ticks=0,0", Card, 0, "", Ends),
        ("ticks=0,0xffffffffffffffff", Card, 0, "", Ends),
        ("", Card, 0, "", Ends),
    ]
};

/// Runs each row on a thread, some at once, and prints what came of it. Fails if one fails.
fn run_all<R: Sync + std::fmt::Debug>(rows: &[R], run: impl Fn(&R) -> String + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let run = std::panic::AssertUnwindSafe(|| run(row));
                    let came = std::panic::catch_unwind(run);
                    let seconds = started.elapsed().as_secs_f64();
                    match came {
                        Ok(came) => println!("ok     {seconds:5.1} s  {row:?}: {came}"),
                        Err(_) => {
                            println!("FAILED {seconds:5.1} s  {row:?}");
                            failed.lock().unwrap().push(format!("{row:?}"));
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn start(row: &Row) -> String {
    let &(words, serves, seconds, tells, then) = row;
    let driver = Driver::new(&format!("card {words}"));
    let started = Instant::now();
    let mut server = Server::spawn({
        let args = ["--backend", "auto"];
        let mut command = match words {
            // One of several is not compiled, and those that lose are destroyed.
            "compile:block-one" | "destroy:block" => driver.serve_with_all_kernels(&args),
            _ => driver.serve(&args),
        };
        command.args(PORTS);
        command
    });
    let ready = started.elapsed();
    let (least, most) = (
        Duration::from_secs(seconds),
        Duration::from_secs(seconds) + SLACK,
    );
    assert!((least..most).contains(&ready), "ready after {ready:?}");
    assert_served(&server);
    let serving = match serves {
        Serves::Card => "llvmpipe",
        Serves::Processor => "cpu",
    };
    match serves {
        // On a slow machine it may be late, and join.
        Serves::Card => eventually_up(&server, serving, 1),
        Serves::Processor => assert_eq!(states(server.management, serving), ["up"]),
    }
    let page = status(server.management);
    assert!(page.to_string().contains(tells), "no {tells:?} in {page}");
    let came = format!("{serving} serves after {:.1} s", ready.as_secs_f64());
    match then {
        Then::Joins => {
            let ended = Instant::now();
            driver.say("card");
            eventually_up(&server, "llvmpipe", 1);
            let joined = ended.elapsed().as_secs_f64();
            assert!(
                states(server.management, "cpu")
                    .iter()
                    .all(|state| state == "standby")
            );
            assert_served(&server);
            format!("{came}, the card {joined:.1} s after the fault")
        }
        Then::StaysAway => {
            driver.say("card");
            thread::sleep(Duration::from_secs(7));
            assert!(states(server.management, "llvmpipe").is_empty());
            format!("{came}, and goes on")
        }
        Then::Ends => {
            server.terminate();
            let ended = Instant::now();
            assert_eq!(server.wait().code(), Some(0));
            format!("{came}, ends in {:.1} s", ended.elapsed().as_secs_f64())
        }
    }
}

#[test]
fn every_fault_at_the_start_leaves_a_server_that_serves() {
    if is_left_out(Need::Minutes) || is_left_out(Need::FaultLayer) {
        return;
    }
    run_all(AT_THE_START, start);
}

/// Words, how many seconds at most until requests are answered again, and what the status page says of it.
const UNDER_LOAD: &[(&str, u64, &str)] = &[
    ("submit:lost", 0, "lost"),
    ("submit:oom", 0, "memory"),
    ("submit:block", 15, "no answer within 15s"),
    ("wait:lost", 0, "lost"),
    ("wait:block", 15, "no answer within 15s"),
    ("wait:timeout", 10, "within 10s"),
    ("submit:lost device:fail", 0, "driver error"),
    ("submit:lost device:block", 0, "lost"),
    ("submit:lost compile:block", 0, "lost"),
    ("submit:lost destroy:block", 0, "lost"),
    ("submit:lost list:none", 0, "does not list"),
    ("dispatch:half", 0, "wrong answer"),
    ("dispatch:none", 0, "wrong answer"),
];

#[test]
fn every_fault_under_load_is_survived_and_the_card_comes_back() {
    if is_left_out(Need::Minutes) || is_left_out(Need::FaultLayer) {
        return;
    }
    run_all(UNDER_LOAD, |&(words, seconds, tells)| {
        let driver = Driver::new("card");
        let server = Server::spawn({
            let mut command = driver.serve(&["--backend", "auto"]);
            command.args(PORTS);
            command
        });
        eventually_up(&server, "llvmpipe", 1);
        assert_served(&server);
        driver.say(&format!("card {words}"));
        let began = Instant::now();
        // Each is answered, the first ones by the processor when the card is given up.
        for _ in 0..5 {
            assert_served(&server);
        }
        let answered = began.elapsed();
        assert!(
            answered < Duration::from_secs(seconds) + SLACK,
            "{answered:?}"
        );
        // The answers may have lain in what a card still does right.
        eventually("the card is given up", || {
            assert_served(&server);
            states(server.management, "cpu") == ["up"]
        });
        eventually("the reason is told", || {
            status(server.management).to_string().contains(tells)
        });
        let ended = Instant::now();
        driver.say("card");
        eventually_up(&server, "llvmpipe", 1);
        let back = ended.elapsed().as_secs_f64();
        assert_served(&server);
        format!(
            "5 answers in {:.1} s, the card {back:.1} s after the fault",
            answered.as_secs_f64()
        )
    });
}

#[test]
fn a_second_card_serves_while_the_first_blocks() {
    if is_left_out(Need::FaultLayer) {
        return;
    }
    // Not in `vkCreateDevice`, which the Vulkan loader lets one thread call at a time.
    let rows = [
        "compile:block@first",
        "submit:block@first",
        "wait:block@first",
    ];
    run_all(&rows, |words| {
        let driver = Driver::new(&format!("card {words}"));
        let mut command = driver.serve(&["--backend", "gpu"]);
        command
            .args(PORTS)
            .env("VK_ADD_DRIVER_FILES", second_manifest());
        let server = Server::spawn(command);
        let mut before = states(server.management, "llvmpipe");
        before.sort();
        assert_eq!(before, ["down", "up"]);
        assert_served(&server);
        driver.say("card");
        eventually_up(&server, "llvmpipe", 2);
        "the second serves, then both".to_owned()
    });
}

/// A port that is free now, and that the system gives to nothing by itself.
fn free_port() -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + COUNT.fetch_add(1, Ordering::Relaxed);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

#[test]
fn a_server_on_cards_alone_waits_for_a_card_that_should_be_there() {
    if is_left_out(Need::FaultLayer) {
        return;
    }
    let rows = [
        ("list:block", "listing the cards has not ended within 10s"),
        ("list:crash", "crashes while the cards are listed"),
        ("device:fail", "driver error"),
        (
            "compile:block",
            "compiling the kernels has not ended within 10s",
        ),
    ];
    run_all(&rows, |&(words, tells)| {
        let driver = Driver::new(&format!("card {words}"));
        let management = free_port();
        let mut command = driver.serve(&["--backend", "gpu", "--address", "127.0.0.1:0"]);
        command.args(["--management-address", &management.to_string()]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        eventually("the reason is told", || {
            std::net::TcpStream::connect(management).is_ok()
                && status(management).to_string().contains(tells)
        });
        let probe = |path: &str| get(management, path).status;
        assert_eq!(probe("/health/readiness"), 503);
        assert_eq!(probe("/health/liveness"), 200);
        driver.say("card");
        eventually("it is ready", || probe("/health/readiness") == 200);
        assert_eq!(states(management, "llvmpipe"), ["up"]);
        let _ = child.kill();
        let _ = child.wait();
        "waits, and is ready when the card is".to_owned()
    });
}

#[test]
fn a_server_on_cards_alone_ends_where_there_is_no_card() {
    if is_left_out(Need::FaultLayer) {
        return;
    }
    for words in ["list:none", "instance:fail"] {
        let driver = Driver::new(words);
        let mut command = driver.serve(&["--backend", "gpu"]);
        let output = command.args(PORTS).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("no Vulkan device can be used"), "{text}");
    }
}

#[test]
fn a_driver_that_crashes_later_is_named_in_the_last_line() {
    if is_left_out(Need::FaultLayer) {
        return;
    }
    let rows = ["device:crash", "compile:abort", "submit:crash"];
    run_all(&rows, |words| {
        let driver = Driver::new(&format!("card {words}"));
        let output = driver.serve(&PORTS).output().unwrap();
        assert_eq!(output.status.code(), None, "a signal ends it: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text
            .lines()
            .rfind(|line| line.contains("work_server"))
            .unwrap();
        assert!(last.contains("if the process ends here"), "{text}");
        assert!(last.contains("llvmpipe"), "{text}");
        "the last line says what to do".to_owned()
    });
}

#[test]
fn two_drivers_of_one_card_are_one_device() {
    if is_left_out(Need::FaultLayer) {
        return;
    }
    let driver = Driver::new("card bus=65");
    let mut command = driver.serve(&["--backend", "auto"]);
    command
        .args(PORTS)
        .env("VK_ADD_DRIVER_FILES", second_manifest());
    let server = Server::spawn(command);
    let devices = status(server.management)["devices"].clone();
    assert_eq!(devices.as_array().unwrap().len(), 1, "{devices}");
    let name = devices[0]["name"].as_str().unwrap();
    assert!(name.contains("(0000:65:00.0)"), "{name}");
    assert_served(&server);
}

#[test]
fn a_driver_that_is_not_conformant_is_named_and_can_be_allowed() {
    if is_left_out(Need::FaultLayer) {
        return;
    }
    let driver = Driver::new("card nonconformant");
    let devices = |allowed: &str| {
        let mut command = driver.on(work_server(&["devices", "--json"]));
        command.env("WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER", allowed);
        let output = command.output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let hidden = devices("0");
    assert_eq!(hidden["gpu"].as_array().unwrap().len(), 0, "{hidden}");
    assert_eq!(hidden["obstacles"][0]["obstacle"], "not_conformant");
    let allowed = devices("1");
    assert_eq!(allowed["gpu"].as_array().unwrap().len(), 1, "{allowed}");
    assert!(!allowed.to_string().contains("not_conformant"), "{allowed}");
}
