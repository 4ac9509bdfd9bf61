//! The media types that a client accepts (RFC 9110, 12.5.1).

use mediatype::{MediaType, MediaTypeList, Name, ReadParams};
use warp::http::{HeaderMap, header};

/// What a client accepts: the ranges of its `Accept` headers.
#[derive(Debug)]
pub(super) struct Accept(Vec<Range>);

#[derive(Debug, PartialEq)]
struct Range {
    /// In lower case, without parameters.
    media_type: String,
    version: Option<String>,
    quality: f32,
}

impl Accept {
    /// Reads the headers of a request. What cannot be read is left out.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let ranges = texts.flat_map(|text| MediaTypeList::new(text).flatten());
        Self(ranges.map(|range| Range::of(&range)).collect())
    }

    /// How much the client wants this media type, from 0 to 1, if it names it. A range such as `*/*` does not count,
    /// nor does one with another version.
    pub(super) fn wants(&self, media_type: &str, version: Option<&str>) -> f32 {
        let ranges = self.0.iter().filter(|range| range.media_type == media_type);
        let of_version =
            ranges.filter(|range| range.version.is_none() || range.version.as_deref() == version);
        of_version.map(|range| range.quality).fold(0.0, f32::max)
    }

    /// Whether the client takes any of these ranges.
    pub(super) fn takes(&self, ranges: &[&str]) -> bool {
        let mut taken = self.0.iter().filter(|range| range.quality > 0.0);
        taken.any(|range| ranges.contains(&&*range.media_type))
    }
}

impl Range {
    fn of(range: &MediaType<'_>) -> Self {
        let parameter = |name| range.get_param(Name::new_unchecked(name));
        let quality = parameter("q").and_then(|quality| quality.as_str().parse().ok());
        Self {
            media_type: range.essence().to_string().to_lowercase(),
            version: parameter("version").map(|version| version.unquoted_str().into_owned()),
            quality: quality.unwrap_or(1.0_f32).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn accept(text: &str) -> Accept {
        let value = HeaderValue::from_str(text).unwrap();
        Accept::of(&HeaderMap::from_iter([(header::ACCEPT, value)]))
    }

    #[test]
    fn qualities_and_versions_are_read() {
        let prometheus = accept(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        );
        let open_metrics = "application/openmetrics-text";
        assert_eq!(prometheus.wants(open_metrics, Some("1.0.0")), 0.5);
        assert_eq!(prometheus.wants(open_metrics, Some("2.0.0")), 0.0);
        assert_eq!(prometheus.wants("text/plain", Some("0.0.4")), 0.3);
        assert_eq!(prometheus.wants("text/html", None), 0.0);
        assert!(prometheus.takes(&["*/*"]) && !prometheus.takes(&["text/*"]));
        assert_eq!(accept("Text/HTML ; Q=0.5").wants("text/html", None), 0.5);
        assert!(!accept("*/*;q=0").takes(&["*/*"]));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        for text in ["", ",", "text", "text/", "/html", ";q=1", "text/html;q"] {
            let _ = accept(text).wants("text/html", None);
        }
        assert_eq!(accept("nonsense, text/html").wants("text/html", None), 1.0);
        let none = Accept::of(&HeaderMap::new());
        assert!(!none.takes(&["*/*"]));
    }
}
