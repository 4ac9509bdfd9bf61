use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    Environment::new(variables.iter().map(owned))
}

/// The defaults that these variables set, each as `SETTING=default`.
fn defaults(variables: &[(&str, &str)]) -> Vec<String> {
    let defaults = environment(variables).foreign_defaults().unwrap();
    defaults
        .iter()
        .map(|default| format!("{}={}", default.setting, default.default))
        .collect()
}

fn complaints(variables: &[(&str, &str)]) -> Vec<String> {
    let settings = [
        "ATTO_WORK_ADDRESS",
        "ATTO_WORK_DEADLINE",
        "ATTO_WORK_QUEUE_SIZE",
        "ATTO_WORK_SHUTDOWN_DELAY",
    ];
    let settings = settings.map(str::to_owned).into();
    environment(variables).complaints(&settings)
}

#[test]
fn variables_of_the_reference_server_set_defaults() {
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Variables<'_>, &[&str]); 12] = [
        (
            &[("SPRING_PROFILES_ACTIVE", "cpu")],
            &["ATTO_WORK_BACKEND=cpu"],
        ),
        (
            &[("SPRING_PROFILES_ACTIVE", "cuda")],
            &["ATTO_WORK_BACKEND=auto"],
        ),
        (
            &[("SPRING_PROFILES_ACTIVE", "rocm")],
            &["ATTO_WORK_BACKEND=auto"],
        ),
        (
            &[("SPRING_PROFILES_ACTIVE", "intel")],
            &["ATTO_WORK_BACKEND=auto"],
        ),
        (
            &[("SPRING_PROFILES_ACTIVE", " cpu , json ")],
            &["ATTO_WORK_BACKEND=cpu", "ATTO_WORK_LOG_FORMAT=json"],
        ),
        (
            &[("SPRING_PROFILES_ACTIVE", "cpu,cuda")],
            &["ATTO_WORK_BACKEND=auto"],
        ),
        (&[("SPRING_PROFILES_ACTIVE", "default")], &[]),
        (&[("SPRING_PROFILES_ACTIVE", "")], &[]),
        (&[("SERVER_PORT", "9000")], &["ATTO_WORK_ADDRESS=[::]:9000"]),
        (
            &[("MANAGEMENT_SERVER_PORT", " 0 ")],
            &["ATTO_WORK_MANAGEMENT_ADDRESS=[::]:0"],
        ),
        // As Kubernetes sets it for a Service that is called `server`.
        (&[("SERVER_PORT", "tcp://10.0.0.1:8080")], &[]),
        (
            &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")],
            &["ATTO_WORK_SHUTDOWN_DELAY=5", "ATTO_WORK_SHUTDOWN_GRACE=18"],
        ),
    ];
    for (variables, expected) in cases {
        assert_eq!(defaults(variables), expected, "{variables:?}");
    }
}

#[test]
fn a_settings_own_variable_goes_before() {
    let variables = [
        ("SPRING_PROFILES_ACTIVE", "cpu,json"),
        ("SERVER_PORT", "many"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("ATTO_WORK_BACKEND", "gpu"),
        ("ATTO_WORK_ADDRESS", "[::]:8080"),
        ("ATTO_WORK_SHUTDOWN_GRACE", "60"),
        // An empty one counts as unset.
        ("ATTO_WORK_LOG_FORMAT", ""),
    ];
    assert_eq!(
        defaults(&variables),
        ["ATTO_WORK_LOG_FORMAT=json", "ATTO_WORK_SHUTDOWN_DELAY=5"]
    );
}

#[test]
fn shutdown_on_kubernetes_fits_into_a_pods_grace_period() {
    use crate::connections::DRAIN_GRACE;
    use crate::service::FLUSH;

    let [delay, grace] = ON_KUBERNETES.map(|(_, seconds)| seconds.parse::<u64>().unwrap());
    let rest = 2 * DRAIN_GRACE + FLUSH;
    // And a second for the log to be flushed.
    assert!(delay + grace + rest.as_secs() < 30, "{rest:?}");
}

#[test]
fn a_port_that_is_none_is_named() {
    for wrong in ["many", "65536", "-1", "80.0"] {
        let error = environment(&[("SERVER_PORT", wrong)]).foreign_defaults();
        let error = error.expect_err(wrong).to_string();
        assert_eq!(
            error,
            format!("SERVER_PORT is \"{wrong}\": it must be a port from 0 to 65535")
        );
    }
}

#[test]
fn the_root_level_is_read_in_either_case() {
    let level = |text| environment(&[("LOGGING_LEVEL_ROOT", text)]).log_level();
    assert_eq!(level("debug"), Some(LevelFilter::DEBUG));
    assert_eq!(level("WARN"), Some(LevelFilter::WARN));
    assert_eq!(level("Off"), Some(LevelFilter::OFF));
    assert_eq!((level("loud"), level("")), (None, None));
}

#[test]
fn an_ignored_variable_is_reported_with_the_nearest_known_name() {
    let cases = [
        (
            ("ATTO_WORK_QUEUESIZE", "4"),
            "ATTO_WORK_QUEUESIZE is not known and is ignored; did you mean ATTO_WORK_QUEUE_SIZE?",
        ),
        (
            ("ATTO_WORK_SHUTDOWN_DELAYS", "4"),
            "ATTO_WORK_SHUTDOWN_DELAYS is not known and is ignored; did you mean ATTO_WORK_SHUTDOWN_DELAY?",
        ),
        (
            ("ATTO_WORK_ZZZ", "4"),
            "ATTO_WORK_ZZZ is not known and is ignored",
        ),
        (
            ("SPRING_PROFILE_ACTIVE", "cpu"),
            "SPRING_PROFILE_ACTIVE is not known and is ignored; did you mean SPRING_PROFILES_ACTIVE?",
        ),
        (
            ("SPRING_MAIN_BANNER_MODE", "off"),
            "SPRING_MAIN_BANNER_MODE is not known and is ignored",
        ),
        (
            ("SPRING_PROFILES_ACTIVE", "cpu,prod"),
            "SPRING_PROFILES_ACTIVE names \"prod\", which is ignored: cpu, cuda, rocm, intel and json are known",
        ),
        (
            ("LOGGING_LEVEL_ROOT", "loud"),
            "LOGGING_LEVEL_ROOT is \"loud\" and is ignored: TRACE, DEBUG, INFO, WARN, ERROR and OFF are known",
        ),
    ];
    for (variable, complaint) in cases {
        assert_eq!(complaints(&[variable]), [complaint]);
    }
}

#[test]
fn variables_that_kubernetes_makes_for_services_are_no_mistake() {
    let of_services = [
        ("ATTO_WORK_SERVER_SERVICE_HOST", "10.0.0.1"),
        ("ATTO_WORK_SERVER_SERVICE_PORT", "8080"),
        ("ATTO_WORK_SERVER_SERVICE_PORT_HTTP", "8080"),
        ("ATTO_WORK_SERVER_PORT", "tcp://10.0.0.1:8080"),
        ("ATTO_WORK_SERVER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("ATTO_WORK_SERVER_PORT_8080_TCP_PROTO", "tcp"),
        ("ATTO_WORK_SERVER_PORT_8080_TCP_PORT", "8080"),
        ("ATTO_WORK_SERVER_PORT_8080_TCP_ADDR", "10.0.0.1"),
        // What is known, and what is empty.
        ("ATTO_WORK_DEADLINE", "1"),
        ("ATTO_WORK_STARTED_AGAIN", "1"),
        ("ATTO_WORK_NOTHING", ""),
    ];
    assert_eq!(complaints(&of_services), Vec::<String>::new());
}
