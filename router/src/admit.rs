//! What a service's settings say about a request before it is passed on.

use std::time::Instant;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use crate::body::AnswerBody;
use crate::head::{self, Client};
use crate::meter::Place;
use crate::page::Refusal;
use crate::table::Service;

/// Where certificate authorities ask, ours or the app's own: they begin without TLS.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The port of HTTPS that no address need name.
const HTTPS: u16 = 443;

/// A place among the service's requests, if its limits allow this one.
pub(crate) fn admit(service: &Service, client: &Client, headers: &HeaderMap) -> Result<Place, Refusal> {
    let settings = &service.settings;
    if let Some(rate) = settings.rate {
        let asked = service.meter.ask(client.ip, rate, Instant::now());
        asked.map_err(|wait| Refusal::TooOften { app: service.name.clone(), wait })?;
    }
    if let Some(most) = settings.body
        && content_length(headers).is_some_and(|length| length > most)
    {
        return Err(Refusal::TooLong(most));
    }
    service.meter.enter(settings.in_flight).ok_or_else(|| Refusal::TooMany { app: service.name.clone() })
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Sends a client that came without TLS to where it is spoken, if the service wants that.
pub(crate) fn redirect(
    service: &Service,
    client: &Client,
    https_port: Option<u16>,
    host: &HeaderValue,
    parts: &Parts,
) -> Option<Response<AnswerBody>> {
    let wanted = service.settings.https_only && !client.is_secure() && !parts.uri.path().starts_with(CHALLENGES);
    let port = https_port.filter(|_| wanted)?;
    let name = head::split_port(host.to_str().ok()?).0;
    let port = if port == HTTPS { String::new() } else { format!(":{port}") };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let location = HeaderValue::try_from(format!("https://{name}{port}{path}")).ok()?;
    let mut response = Response::new(AnswerBody::page(Bytes::new()));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

/// Tells a browser that has come with TLS never to come without, if the service wants that.
pub(crate) fn promise(service: &Service, client: &Client, headers: &mut HeaderMap) {
    if client.is_secure()
        && let Some(promise) = service.settings.hsts.as_ref().and_then(crate::settings::Hsts::header)
    {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, promise);
    }
}
