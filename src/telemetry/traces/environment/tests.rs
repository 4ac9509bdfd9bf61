//! How the variables configure an export, and what is reported.

use super::*;

/// What these variables say.
fn reading(variables: &[(&str, &str)]) -> Environment {
    read(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// With an endpoint, unless there is another.
fn exporting(more: &[(&str, &str)]) -> Environment {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    reading(&[more, &[endpoint]].concat())
}

fn complaints(environment: &Environment) -> Vec<&str> {
    let complaints = environment.complaints.iter();
    complaints.map(|complaint| complaint.variable).collect()
}

#[test]
fn nothing_is_exported_without_an_endpoint() {
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
        &[("OTEL_TRACES_EXPORTER", "otlp")],
    ] {
        let read = reading(variables);
        assert_eq!((read.export, read.continues), (Ok(None), true));
    }
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    let read = exporting(&[]);
    assert_eq!(
        read.export,
        Ok(Some(Export {
            protocol: Protocol::Http,
            url: "http://collector:4318/v1/traces".to_owned(),
            endpoint: "http://collector:4318/v1/traces".to_owned(),
            tls: None,
            gzip: false,
            sampling: Sampling {
                follows_caller: true,
                share: 1.0,
            },
            timeout: Duration::from_secs(10),
            queue: 2048,
            batch: 512,
            delay: Duration::from_secs(5),
            attributes: Vec::new(),
        }))
    );
    assert_eq!(read.complaints, []);
}

#[test]
fn a_variable_for_traces_alone_takes_precedence() {
    let read = exporting(&[
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://user:secret@other/path",
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
    ]);
    let export = read.export.unwrap().unwrap();
    assert_eq!(export.endpoint, "http://other", "without the secret");
    assert_eq!(
        export.url, "http://other",
        "without a path, which gRPC has itself"
    );
    assert_eq!(export.protocol, Protocol::Grpc);
    assert_eq!(export.timeout, Duration::from_secs(2));
    assert_eq!((export.queue, export.batch), (100, 100));
}

#[test]
fn white_space_around_a_value_is_ignored() {
    let export = reading(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://collector:4318/base/\n",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000\n"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", " "),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip\n"),
        ("OTEL_TRACES_SAMPLER", "traceidratio\n"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.01\n"),
    ]);
    assert_eq!(export.complaints, []);
    let export = export.export.unwrap().unwrap();
    assert_eq!(export.url, "http://collector:4318/base/v1/traces");
    assert_eq!((export.timeout.as_secs(), export.gzip), (2, true));
    let sampling = Sampling {
        follows_caller: false,
        share: 0.01,
    };
    assert_eq!(export.sampling, sampling);
}

#[test]
fn a_user_in_the_endpoint_is_not_sent() {
    for (variable, path, protocol) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "grpc"),
    ] {
        let read = reading(&[
            (variable, "http://user:secret@[::1]:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        assert_eq!(complaints(&read), [variable]);
        assert!(!format!("{read:?}").contains("secret"), "{read:?}");
        let export = read.export.unwrap().unwrap();
        assert_eq!(export.url, format!("http://[::1]:4318{path}"));
    }
}

#[test]
fn an_exporter_without_an_endpoint_and_headers_that_are_hidden_are_reported() {
    let read = reading(&[("OTEL_TRACES_EXPORTER", "otlp")]);
    assert_eq!(complaints(&read), ["OTEL_TRACES_EXPORTER"]);
    let hidden = exporting(&[
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", ""),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
    ]);
    assert_eq!(complaints(&hidden), [HEADERS[0]]);
}

#[test]
fn the_queue_and_the_batch_are_bounded() {
    let read = exporting(&[
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4000000000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "65537"),
    ]);
    assert_eq!(complaints(&read).len(), 2);
    let export = read.export.unwrap().unwrap();
    assert_eq!((export.queue, export.batch), (65_536, 65_536));
}

#[test]
fn it_can_be_switched_off() {
    for variable in [
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        let read = exporting(&[variable]);
        assert_eq!((read.export, read.complaints), (Ok(None), vec![]));
    }
    // Only "true" switches it off, says the specification.
    let read = exporting(&[("OTEL_SDK_DISABLED", "yes")]);
    assert!(read.export.unwrap().is_some());
}

#[test]
fn what_cannot_be_done_is_said() {
    let cases = [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "ftp://collector:4318",
            "https",
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "scheme"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", "not a URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "zipkin"),
    ];
    for (variable, value, expected) in cases {
        let error = exporting(&[(variable, value)]).export.unwrap_err();
        assert_eq!(error.variable, variable);
        assert!(error.reason.contains(expected), "{error:?}");
    }
}

#[test]
fn grpc_may_leave_the_scheme_out_if_it_is_declared_insecure() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
    ];
    let export = reading(&variables).export.unwrap().unwrap();
    assert_eq!(export.endpoint, "http://collector:4317");
    assert!(reading(&variables[..2]).export.is_err());
}

#[test]
fn https_trusts_the_system_or_a_file() {
    let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");
    let read = reading(&[https]);
    let export = read.export.unwrap().unwrap();
    assert_eq!(export.url, "https://collector:4318/v1/traces");
    assert_eq!(export.tls, Some(Authorities::System));
    assert_eq!(read.complaints, []);

    let [own, all] = CERTIFICATES;
    for (variables, path) in [
        (vec![https, (all, "/a.pem")], "/a.pem"),
        (vec![https, (all, "/a.pem"), (own, "/b.pem")], "/b.pem"),
    ] {
        let export = reading(&variables).export.unwrap().unwrap();
        assert_eq!(export.tls, Some(Authorities::File(path.into())));
    }

    let read = reading(&[https, (CLIENT_CERTIFICATES[1], "/own.pem")]);
    assert_eq!(complaints(&read), [CLIENT_CERTIFICATES[1]]);
}

#[test]
fn callers_are_followed_unless_it_is_switched_off() {
    for (value, continues) in [
        ("tracecontext,baggage", true),
        ("b3, tracecontext", true),
        ("baggage", false),
        ("none", false),
    ] {
        let read = reading(&[("OTEL_PROPAGATORS", value)]);
        assert_eq!(read.continues, continues, "{value}");
    }
}

#[test]
fn a_variable_that_loses_no_trace_is_not_reported() {
    let harmless = [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_SDK_DISABLED", "no"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "few"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1"),
    ];
    let read = exporting(&harmless);
    assert_eq!(read.complaints, []);
    assert!(!read.export.unwrap().unwrap().gzip);
}

#[test]
fn a_wrong_value_is_reported_and_ignored() {
    let read = exporting(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret"),
    ]);
    assert_eq!(
        complaints(&read),
        [
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "OTEL_BSP_SCHEDULE_DELAY",
            "OTEL_TRACES_SAMPLER",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ]
    );
    let text = format!("{:?}", read.complaints);
    assert!(!text.contains("secret"), "{text}");
    let export = read.export.unwrap().unwrap();
    assert_eq!((export.queue, export.delay.as_secs()), (2048, 5));
}

#[test]
fn a_value_that_loses_traces_or_attributes_is_reported() {
    let read = exporting(&[
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://collector:4318/v1/traces/?key=secret",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "good=1,authorization: Bearer secret=,b=2",
        ),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c"),
    ]);
    assert_eq!(
        complaints(&read),
        [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_RESOURCE_ATTRIBUTES",
        ]
    );
    let text = format!("{:?}", read.complaints);
    assert!(
        text.contains("authorization") && !text.contains("secret"),
        "{text}"
    );
    let export = read.export.unwrap().unwrap();
    assert_eq!(export.endpoint, "http://collector:4318/v1/traces/v1/traces");
    assert_eq!(export.attributes, []);
}

#[test]
fn a_sampler_is_checked_with_its_argument() {
    let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    for (argument, wrong) in [("0.01", 0), ("1", 0), ("1.5", 1), ("1 %", 1), ("", 1)] {
        let read = exporting(&[sampler, ("OTEL_TRACES_SAMPLER_ARG", argument)]);
        assert_eq!(complaints(&read).len(), wrong, "{argument:?}");
    }
}
