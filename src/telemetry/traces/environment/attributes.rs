//! The attributes in `OTEL_RESOURCE_ATTRIBUTES`
//! (<https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>).

/// Reads `name=value` pairs, separated by commas. One wrong pair makes the list an error, as the specification demands.
pub(super) fn read(list: &str) -> Result<Vec<(String, String)>, String> {
    let entries = list.split(',').map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    entries.zip(1..).map(pair).collect()
}

fn pair((entry, number): (&str, usize)) -> Result<(String, String), String> {
    let (name, value) = entry
        .split_once('=')
        .ok_or_else(|| format!("entry {number} is not NAME=VALUE: no attribute is used"))?;
    let decoded = |text: &str| {
        percent_decoded(text.trim()).ok_or_else(|| {
            format!("entry {number} has a % without the two hex digits of a byte of UTF-8: no attribute is used")
        })
    };
    let name = decoded(name)?;
    if name.is_empty() {
        return Err(format!("entry {number} has no name: no attribute is used"));
    }
    Ok((name, decoded(value)?))
}

/// Decodes `%` and two hex digits to the byte that they stand for; `None` if that is not possible.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        bytes.extend(rest);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let pairs = read("a=b, team=p%C3%B6ol%2C one ,x.y=1=2,empty=,").unwrap();
        let expected = [
            ("a", "b"),
            ("team", "pöol, one"),
            ("x.y", "1=2"),
            ("empty", ""),
        ];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn wrong_entries_are_named_by_their_number() {
        for wrong in [
            "a=b,c",
            "a=b,=c",
            "a=b,c=%",
            "a=b,c=%g0",
            "a=b,c=%FF",
            "a=b,c=%é",
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.starts_with("entry 2 "), "{wrong}: {error}");
        }
    }
}
