//! What the black-box tests share: the real binary, the service in this process with devices of a test's
//! own, and a plain HTTP client that can also send invalid requests.

#![allow(clippy::unwrap_used, reason = "benches include this too")]

#[allow(dead_code, reason = "only the vectors are used here")]
pub(crate) mod conformance;
pub(crate) mod devices;
#[allow(dead_code, reason = "some of it is for benches only")]
pub(crate) mod hostile;
pub(crate) mod http;
pub(crate) mod needs;
pub(crate) mod proxy;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take that should take milliseconds: long enough for a busy machine, short enough
/// to fail while somebody is watching.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Has the system choose the ports.
pub(crate) const PORTS: [&str; 4] = [
    "--address",
    "127.0.0.1:0",
    "--management-address",
    "127.0.0.1:0",
];

/// Variables of other programs that the server reads.
const FOREIGN: [&str; 6] = [
    "KUBERNETES_SERVICE_HOST",
    "LOGGING_LEVEL_ROOT",
    "MANAGEMENT_SERVER_PORT",
    "NOTIFY_SOCKET",
    "RUST_LOG",
    "SERVER_PORT",
];

/// A command of the real binary, without the environment that the tests run in.
pub(crate) fn work_server(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_work-server"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let prefixes = ["ATTO_WORK_", "OTEL_", "SPRING_"];
        if prefixes.iter().any(|prefix| text.starts_with(prefix)) || FOREIGN.contains(&&*text) {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// The line of the file of keys for this key.
pub(crate) fn key_entry(name: &str, key: &str) -> String {
    let mut child = work_server(&["hash-key", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(key.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The real binary, serving on free ports. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Nano's port, if there is one.
    #[allow(dead_code, reason = "only some programs ask there")]
    pub(crate) nano: Option<SocketAddr>,
    pub(crate) management: SocketAddr,
    /// What the server logged before it was ready, a JSON object a line.
    pub(crate) starting: Vec<Value>,
    /// And after that.
    log: mpsc::Receiver<Value>,
}

impl Server {
    /// Starts `work-server` with these arguments, and waits until it is ready.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(work_server(args))
    }

    /// Starts a server on the processor, on free ports, after a command of the shell, such as one that limits it.
    pub(crate) fn after(command: &str, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} && exec \"$0\" \"$@\"")]);
        shell.arg(env!("CARGO_BIN_EXE_work-server"));
        shell.args(["serve", "--backend", "cpu"]);
        shell.args(PORTS).args(args);
        Self::spawn(shell)
    }

    /// Runs this command of a server, and waits until it is ready.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut parsed: Value = serde_json::from_str(&line).expect("each line is JSON");
                // As it was written: of two members of one name, only one is parsed.
                parsed["raw"] = line.into();
                let _ = sender.send(parsed);
            }
        });
        let (starting, ready) = wait_for(&log, "ready");
        assert!(ready["milliseconds"].as_f64() > Some(0.0), "{ready}");
        let address = |name: &str| {
            ready[name]
                .as_str()
                .and_then(|text| text.parse().ok())
                .expect("an address")
        };
        Self {
            child,
            address: address("address"),
            nano: ready.get("nano_address").map(|_| address("nano_address")),
            management: address("management_address"),
            starting,
            log,
        }
    }

    /// Starts a server on the processor, on free ports, with more arguments.
    pub(crate) fn on_cpu(args: &[&str]) -> Self {
        Self::start(&[&["serve", "--backend", "cpu"], &PORTS[..], args].concat())
    }

    /// The address that clients are given.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for a log line with this message. All messages up to it.
    pub(crate) fn wait_for_log(&self, message: &str) -> Vec<String> {
        let text = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        self.log_until(message).iter().map(text).collect()
    }

    /// Waits for a log line with this message. All lines up to it.
    pub(crate) fn log_until(&self, message: &str) -> Vec<Value> {
        let (mut lines, last) = wait_for(&self.log, message);
        lines.push(last);
        lines
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to stop.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends the server a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for the server to end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the server has not ended");
    }

    /// The value of a metric, with its labels as they are written. It must be there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        http::get(self.management, "/prometheus").metric(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines before the one with this message, and that one.
fn wait_for(log: &mpsc::Receiver<Value>, message: &str) -> (Vec<Value>, Value) {
    let mut seen = Vec::new();
    loop {
        match log.recv_timeout(SOON) {
            Ok(line) if line["message"] == message => return (seen, line),
            Ok(line) => seen.push(line),
            Err(error) => panic!("no {message:?} in the log ({error}): {seen:#?}"),
        }
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Unix milliseconds, now.
pub(crate) fn now() -> i64 {
    atto_work_server::work::Timestamp::now().as_millis()
}

/// The first answer of these that has no work: a search for LIVE may be answered sooner than a test expects.
#[allow(dead_code, reason = "only some programs ask for LIVE")]
pub(crate) fn without_luck(ask: impl FnMut(u64) -> http::Response) -> http::Response {
    (1..)
        .map(ask)
        .find(|answer| answer.status != 200)
        .expect("luck ends")
}

/// A request for work that is right in every way.
pub(crate) fn request(network: &str, target: &str) -> Value {
    json!({ "network": network, "timestamp": now(), "target": target })
}

/// A target of 64 hex digits, another for each number.
pub(crate) fn target(number: u64) -> String {
    format!("{number:064X}")
}

/// Fails unless `answer` is 200 with exactly one valid work for this request.
pub(crate) fn assert_work(answer: &http::Response, request: &Value) {
    use atto_work_server::work::{Network, Nonce, Target, Threshold, Timestamp, Work};

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(
        body.as_object().map(serde_json::Map::len),
        Some(1),
        "{body}"
    );
    let text = body["work"].as_str().expect("a string");
    assert_eq!(text.to_uppercase(), text);
    let nonce: Nonce = text.parse().expect("16 hex digits");
    let network: Network = request["network"].as_str().unwrap().parse().unwrap();
    let timestamp = Timestamp::from_millis(request["timestamp"].as_i64().unwrap()).unwrap();
    let target: Target = request["target"].as_str().unwrap().parse().unwrap();
    let rule = Threshold::required(network, timestamp).into();
    assert!(
        Work::verify(nonce, &target, rule).is_some(),
        "{body} for {request}"
    );
}
