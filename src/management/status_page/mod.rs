//! The status page: what the server does, why it is slow, and which device is the cause.
//!
//! The page is one file that loads nothing but `status.json`, every two seconds. Errors of drivers and names of devices are
//! untrusted: the script puts them in as text, never as markup, and the content security policy allows no other script.

use warp::Reply;
use warp::http::{HeaderValue, header};
use warp::reply::Response;

use super::guard::guarded;
use crate::problem::Problem;

/// The page, with an empty element each for its style and its script.
const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    include_str!("format.js"),
    include_str!("elements.js"),
    include_str!("summary.js"),
    include_str!("sections.js"),
    include_str!("charts.js"),
    include_str!("update.js"),
);

/// The page, with a policy that allows its own style and script, its data, and nothing else.
pub(super) fn page() -> Result<Response, Problem> {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the system gives no random bytes for the status page");
        return Err(Problem::Internal);
    }
    let nonce = hex::encode(bytes);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).expect("words and hex digits");
    let mut response = guarded(warp::reply::html(render(&nonce)).into_response());
    let no_referrer = HeaderValue::from_static("no-referrer");
    response.headers_mut().extend([
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, no_referrer),
    ]);
    Ok(response)
}

/// The page with its style and script, which carry the nonce of one response.
fn render(nonce: &str) -> String {
    let element = |name: &str, text: &str| format!("<{name} nonce=\"{nonce}\">\n{text}</{name}>");
    PAGE.replacen("<style></style>", &element("style", STYLE), 1)
        .replacen("<script></script>", &element("script", SCRIPT), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nobody_else() {
        let page = render("0123");
        let own = page.replace("http://www.w3.org/2000/svg", "");
        for word in [
            "http:",
            "https:",
            "//cdn",
            "@import",
            "innerHTML",
            " onclick",
            " style=\"",
        ] {
            assert!(!own.contains(word), "{word}");
        }
    }

    #[test]
    fn the_page_has_one_style_and_one_script() {
        let page = render("0123");
        for name in ["style", "script"] {
            let begin = format!("<{name} nonce=\"0123\">\n");
            assert_eq!(page.matches(&begin).count(), 1);
            assert_eq!(page.matches(&format!("<{name}")).count(), 1);
            assert_eq!(page.matches(&format!("</{name}>")).count(), 1);
        }
        assert!(page.contains(STYLE) && page.contains(SCRIPT));
    }
}
