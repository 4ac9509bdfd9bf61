//! JSON values as YAML 1.2.

use serde_json::Value;

/// The value as a YAML document in block style. Scalars and names stay as JSON has them, since YAML reads those too.
pub(super) fn written(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

/// Writes a value whose lines are indented by `depth` steps. The text so far ends with a new line, or with the `:` or `-`
/// that the value belongs to.
fn write(value: &Value, depth: usize, text: &mut String) {
    let begin = |text: &mut String| {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&"  ".repeat(depth));
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                begin(text);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(member, depth + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                begin(text);
                text.push('-');
                write(item, depth + 1, text);
            }
        }
        scalar => {
            if text.ends_with([':', '-']) {
                text.push(' ');
            }
            text.push_str(&scalar.to_string());
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_yaml_reader_reads_the_same_values() {
        let values = [
            json!({ "a": 1, "b": [true, null, "no", "1.5"], "c: d": {}, "e": [], "f": { "g": [{ "h": [[1], 2] }] } }),
            json!([{ "a": "line\nline", "- b": "\"'#\\ \u{1F600}" }, [], ""]),
            json!("text"),
            crate::http::openapi::document::document(true),
        ];
        for value in values {
            let yaml = written(&value);
            let read: Value = serde_norway::from_str(&yaml).expect(&yaml);
            assert_eq!(read, value, "{yaml}");
        }
    }
}
