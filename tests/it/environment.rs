//! Environment variables of the reference server, of Kubernetes, and unknown ones.

use serde_json::Value;

use crate::support::http::{get, post_works};
use crate::support::{PORTS, Server, assert_work, request, target, work_server};

/// A server with this environment, on the processor and on free ports.
fn server(variables: &[(&str, &str)]) -> Server {
    let mut command = work_server(&[&["serve", "--backend", "cpu"], &PORTS[..]].concat());
    command.envs(variables.iter().copied());
    Server::spawn(command)
}

/// The messages of a level while the server starts.
fn told(server: &Server, level: &str) -> Vec<String> {
    let lines = server.starting.iter().filter(|line| line["level"] == level);
    lines
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect()
}

/// What the status page shows of a setting.
fn setting(server: &Server, variable: &str) -> Value {
    let status = get(server.management, "/status.json").json();
    let settings = status["configuration"].as_array().unwrap().clone();
    let mut settings = settings.into_iter();
    let found = settings.find(|setting| setting["variable"] == variable);
    found.unwrap()
}

#[test]
fn the_environment_of_the_reference_server_means_what_it_meant() {
    let mut command = work_server(&[]);
    command.envs([
        ("SPRING_PROFILES_ACTIVE", "cpu,json"),
        ("SERVER_PORT", "0"),
        ("MANAGEMENT_SERVER_PORT", "0"),
        ("LOGGING_LEVEL_ROOT", "DEBUG"),
    ]);
    let server = Server::spawn(command);
    assert!(server.address.ip().is_unspecified());
    let infos = told(&server, "INFO");
    for used in [
        "SPRING_PROFILES_ACTIVE=cpu,json is used as ATTO_WORK_BACKEND=cpu",
        "SPRING_PROFILES_ACTIVE=cpu,json is used as ATTO_WORK_LOG_FORMAT=json",
        "SERVER_PORT=0 is used as ATTO_WORK_ADDRESS=[::]:0",
        "MANAGEMENT_SERVER_PORT=0 is used as ATTO_WORK_MANAGEMENT_ADDRESS=[::]:0",
        "LOGGING_LEVEL_ROOT is used as RUST_LOG=debug",
    ] {
        let times = infos.iter().filter(|message| *message == used).count();
        assert_eq!(times, 1, "{used}: {infos:#?}");
    }
    assert_eq!(told(&server, "WARN"), Vec::<String>::new());
    let address = setting(&server, "ATTO_WORK_ADDRESS");
    assert_eq!(
        (&address["value"], &address["is_default"]),
        (&"[::]:0".into(), &false.into())
    );
    let request = request("LOCAL", &target(1));
    let address = ([127, 0, 0, 1], server.address.port()).into();
    assert_work(&post_works(address, &request.to_string()), &request);
    server.wait_for_log("request ended");
    let mut health = work_server(&["health"]);
    health.env(
        "MANAGEMENT_SERVER_PORT",
        server.management.port().to_string(),
    );
    assert!(health.output().unwrap().status.success());
}

#[test]
fn own_settings_take_precedence_over_those_of_the_reference_server() {
    let server = server(&[
        ("SPRING_PROFILES_ACTIVE", "cuda,text"),
        ("SERVER_PORT", "1"),
        ("MANAGEMENT_SERVER_PORT", "tcp://10.0.0.1:8081"),
        ("LOGGING_LEVEL_ROOT", "OFF"),
        ("RUST_LOG", "info"),
        ("ATTO_WORK_BACKEND", "gpu"),
    ]);
    // The flags are those of `server`.
    assert!(server.address.ip().is_loopback());
    let infos = told(&server, "INFO");
    assert!(
        !infos.iter().any(|message| message.contains("is used as")),
        "{infos:#?}"
    );
    let [warning] = &told(&server, "WARN")[..] else {
        panic!("{:#?}", server.starting);
    };
    assert!(
        warning.contains("names \"text\", which is ignored"),
        "{warning}"
    );
}

#[test]
fn an_invalid_port_in_a_variable_of_the_reference_server_stops_the_start() {
    for variable in ["SERVER_PORT", "MANAGEMENT_SERVER_PORT"] {
        for command in ["serve", "health"] {
            let output = work_server(&[command]).env(variable, "eighty").output();
            let output = output.unwrap();
            assert_eq!(output.status.code(), Some(64), "{output:?}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(
                text.contains(&format!("{variable} is \"eighty\"")),
                "{text}"
            );
        }
        // Commands without a port ignore it.
        let output = work_server(&["devices"]).env(variable, "eighty").output();
        assert_eq!(output.unwrap().status.code(), Some(0));
    }
}

#[test]
fn an_unknown_variable_is_reported_with_the_nearest_name() {
    let server = server(&[
        ("ATTO_WORK_DEADLIN", "5"),
        ("SPRING_MAIN_BANNER_MODE", "off"),
        ("LOGGING_LEVEL_ROOT", "loud"),
        // Of a Service, as Kubernetes makes it.
        ("ATTO_WORK_SERVER_PORT", "tcp://10.0.0.1:8080"),
        ("ATTO_WORK_SERVER_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("ATTO_WORK_SERVER_SERVICE_HOST", "10.0.0.1"),
    ]);
    assert_eq!(
        told(&server, "WARN"),
        [
            "LOGGING_LEVEL_ROOT is \"loud\" and is ignored: TRACE, DEBUG, INFO, WARN, ERROR and OFF are known",
            "ATTO_WORK_DEADLIN is not known and is ignored; did you mean ATTO_WORK_DEADLINE?",
            "SPRING_MAIN_BANNER_MODE is not known and is ignored",
        ]
    );
}

/// What `--help` says.
fn help() -> String {
    let help = work_server(&["serve", "--help"]).output().unwrap();
    String::from_utf8(help.stdout).unwrap()
}

/// The variables in that.
fn variables(help: &str) -> Vec<&str> {
    let entries = help.split("[env: ").skip(1);
    let variables: Vec<_> = entries
        .filter_map(|entry| entry.split('=').next())
        .collect();
    assert!(variables.len() > 20, "{variables:?}");
    variables
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let help = help();
    let mut variables = variables(&help);
    variables.extend([
        "SPRING_PROFILES_ACTIVE",
        "SERVER_PORT",
        "MANAGEMENT_SERVER_PORT",
    ]);
    variables.extend(["LOGGING_LEVEL_ROOT", "KUBERNETES_SERVICE_HOST", "RUST_LOG"]);
    let empty: Vec<_> = variables.iter().map(|variable| (*variable, "")).collect();
    let server = server(&empty);
    assert_eq!(told(&server, "WARN"), Vec::<String>::new());
    let shown = get(server.management, "/status.json").json();
    let changed = shown["configuration"].as_array().unwrap().iter();
    let changed: Vec<_> = changed
        .filter(|setting| setting["is_default"] == false)
        .map(|setting| setting["variable"].as_str().unwrap())
        .collect();
    // The flags of `server`.
    assert_eq!(
        changed,
        [
            "ATTO_WORK_BACKEND",
            "ATTO_WORK_ADDRESS",
            "ATTO_WORK_MANAGEMENT_ADDRESS"
        ]
    );
    let solve = ["solve", "--network", "LOCAL", "--target", &target(1)];
    let mut solve = work_server(&solve);
    let output = solve.envs(empty).env("ATTO_WORK_BACKEND", "cpu").output();
    assert!(output.unwrap().status.success());
}

#[test]
fn on_kubernetes_a_pod_that_ends_serves_for_a_while_and_ends_in_time() {
    let server = server(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
    assert_eq!(setting(&server, "ATTO_WORK_SHUTDOWN_DELAY")["value"], "5");
    assert_eq!(setting(&server, "ATTO_WORK_SHUTDOWN_GRACE")["value"], "18");
    server.terminate();
    server.wait_for_log("stopping: not ready any more, but still serving requests");
    let request = request("LOCAL", &target(1));
    assert_work(&post_works(server.address, &request.to_string()), &request);
}
