//! The attributes of this process in traces.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

/// The name of the service in traces, unless `OTEL_SERVICE_NAME` gives another.
pub(super) const SERVICE_NAME: &str = env!("CARGO_PKG_NAME");

/// The attributes of this process in traces. Those `given` replace them.
pub(super) fn resource(given: &[(String, String)]) -> Resource {
    let given = given
        .iter()
        .map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.name", SERVICE_NAME),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .with_attributes(instance_id().map(|id| KeyValue::new("service.instance.id", id)))
        .with_attributes(given);
    let name = std::env::var("OTEL_SERVICE_NAME").ok();
    match name.as_deref().map(str::trim) {
        Some(name) if !name.is_empty() => resource.with_service_name(name.to_owned()),
        _ => resource,
    }
    .build()
}

/// A random UUID (RFC 9562, version 4), as the semantic conventions advise; `None` if the system has no random bytes.
fn instance_id() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let digits = hex::encode(bytes);
    let (parts, mut from) = ([8, 4, 4, 4, 12], 0);
    let parts = parts.map(|length| {
        from += length;
        &digits[from - length..from]
    });
    Some(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_random_uuid() {
        let id = instance_id().unwrap();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, instance_id().unwrap());
    }
}
