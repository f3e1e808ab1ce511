//! The answers that are the router's own: each says which host or app, and what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::AnswerBody;
use crate::head::Malformed;

/// A service's own pages for browsers, instead of those of the router, by status.
#[derive(Debug, Default)]
pub struct Pages(BTreeMap<u16, Bytes>);

impl Pages {
    /// These, in HTML.
    pub fn new(pages: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Self {
        Self(pages.into_iter().map(|(status, html)| (status, html.into())).collect())
    }
}

/// Why a request was not answered by an app.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request itself is at fault.
    Malformed(Malformed),
    /// Nothing is served at this host.
    UnknownHost(String),
    /// The service cannot be asked now, for this reason.
    Unavailable { app: String, why: String },
    /// No connection to any instance.
    Unreachable { app: String },
    /// It closed the connection before it had answered.
    Silent { app: String },
    /// What came back was not HTTP.
    Garbled { app: String },
    /// The request's body stopped coming.
    Stalled,
    /// Its body is longer than this.
    TooLong(u64),
    /// As many as may be are in flight.
    TooMany { app: String },
    /// This client has asked too often, and may again after this time.
    TooOften { app: String, wait: Duration },
    /// No answer within this many seconds.
    Late { app: String, seconds: u64 },
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UnknownHost(_) => StatusCode::NOT_FOUND,
            Self::Unavailable { .. } | Self::TooMany { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Garbled { .. } => StatusCode::BAD_GATEWAY,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Late { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether it is the service's targets that are at fault: neither the client nor a limit.
    pub(crate) fn is_the_services(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Unreachable { .. }
                | Self::Silent { .. }
                | Self::Garbled { .. }
                | Self::Late { .. }
        )
    }

    /// What happened, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Malformed(why) => format!("the request was refused: {why}"),
            Self::UnknownHost(host) => format!("no app is served at `{host}`"),
            Self::Unavailable { app, why } => format!("the app `{app}` is not available: {why}"),
            Self::Unreachable { app } => format!("the app `{app}` does not accept connections"),
            Self::Silent { app } => format!("the app `{app}` closed the connection without an answer"),
            Self::Garbled { app } => format!("the app `{app}` sent something that is not an HTTP response"),
            Self::Stalled => "the rest of the request did not arrive".to_owned(),
            Self::TooLong(most) => format!("the request is longer than the {most} bytes that are allowed"),
            Self::TooMany { app } => format!("the app `{app}` is busy"),
            Self::TooOften { app, .. } => format!("you have asked the app `{app}` too often in a short time"),
            Self::Late { app, seconds } => format!("the app `{app}` did not answer within {seconds} s"),
        }
    }

    /// The whole answer, in a form that the client takes; in HTML it is the service's own page, if there is one.
    pub(crate) fn response(&self, form: Form, pages: Option<&Pages>) -> Response<AnswerBody> {
        let own = pages.and_then(|pages| pages.0.get(&self.status().as_u16()));
        let (kind, body) = match (form, own) {
            (Form::Text, _) => ("text/plain; charset=utf-8", self.text().into()),
            (Form::Html, Some(own)) => ("text/html; charset=utf-8", own.clone()),
            (Form::Html, None) => ("text/html; charset=utf-8", self.html().into()),
            (Form::Json, _) => ("application/json", self.json().into()),
        };
        let mut response = Response::new(AnswerBody::page(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self, Self::Malformed(_) | Self::Stalled | Self::TooLong(_)) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Seconds after which it may be worth asking again.
    fn retry_after(&self) -> Option<u64> {
        match self {
            // An instance that has died is started again within seconds.
            Self::Unavailable { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Garbled { .. }
            | Self::Late { .. } => Some(5),
            Self::TooMany { .. } => Some(1),
            Self::TooOften { wait, .. } => Some(wait.as_secs() + 1),
            _ => None,
        }
    }

    fn text(&self) -> String {
        format!("{}: {}\n", self.status().as_u16(), self.sentence())
    }

    fn json(&self) -> String {
        let (status, error) = (self.status(), self.sentence());
        let title = status.canonical_reason().unwrap_or_default();
        format!("{}\n", serde_json::json!({ "status": status.as_u16(), "title": title, "error": error }))
    }

    fn html(&self) -> String {
        let code = self.status().as_u16();
        let reason = self.status().canonical_reason().unwrap_or_default();
        let sentence = escape(&self.sentence());
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{code} {reason}</title>\n\
             <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1rem;color:#222}}h1{{font-size:1.4rem}}</style>\n\
             <h1>{code} {reason}</h1>\n<p>{code}: {sentence}</p>\n</html>\n"
        )
    }
}

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Html,
    Json,
}

impl Form {
    /// What a request's `Accept` names first: browsers HTML, programs JSON; tools mostly send `*/*` or nothing.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        accepted.flat_map(|value| value.split(',')).find_map(Self::of).unwrap_or(Self::Text)
    }

    fn of(range: &str) -> Option<Self> {
        let kind = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "text/plain" => Some(Self::Text),
            "application/json" => Some(Self::Json),
            kind if kind.starts_with("application/") && kind.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_accept_names_first_is_the_form() {
        for (accept, form) in [
            (None, Form::Text),
            (Some("*/*"), Form::Text),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Form::Html),
            (Some("application/json"), Form::Json),
            (Some("application/json, text/plain, */*"), Form::Json),
            (Some("Application/Problem+JSON;q=1"), Form::Json),
            (Some("text/plain, text/html"), Form::Text),
            (Some("image/png,image/*"), Form::Text),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(Form::wanted(&headers), form, "{accept:?}");
        }
    }
}
