//! How an app's requests are handled.

use std::str::FromStr;

use super::Call;
use super::arguments::Form;
use crate::failure::Result;
use crate::http::{HttpSettings, HttpsMode, Protocol};
use crate::limits::{parse_bytes, parse_seconds};
use crate::listing::{Cell, Details};
use crate::logs::AccessFormat;
use crate::names::AppName;

pub(super) async fn show(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let http = call.app(name)?.http;
    let details = Details::new(format!("{name} http"))
        .with("app", name.as_str())
        .with("https", http.https.as_str())
        .with("hsts", http.hsts.map(Cell::Seconds))
        .with("wait", Cell::Seconds(http.wait))
        .with("drain", Cell::Seconds(http.drain))
        .with("sticky", http.sticky)
        .with("body", http.body.map(Cell::Size))
        .with("in_flight", http.in_flight)
        .with("rate", http.rate)
        .with("protocol", http.protocol.as_str())
        .with("access_log", access_log(http))
        .with("compress", http.compress)
        .with("server_timing", http.server_timing);
    call.console.print(&details.render(form.json)).await;
    Ok(())
}

pub(super) async fn set(call: &mut Call<'_>, name: &AppName, settings: &[HttpSetting]) -> Result<()> {
    let app = call.app(name)?;
    let mut http = app.http;
    for setting in settings {
        setting.change.apply(&mut http);
    }
    call.platform.store.set_http(app.id, http)?;
    call.platform.refresh_route(&app)?;
    let said: Vec<&str> = settings.iter().map(|setting| setting.said.as_str()).collect();
    call.console.print(&format!("-----> {name}: {}\n", said.join(", "))).await;
    if http.protocol != app.http.protocol {
        let note = format!("       spoken with instances that start from now on: push, or `restart {name}`\n");
        call.console.print(&note).await;
    }
    Ok(())
}

fn access_log(http: HttpSettings) -> &'static str {
    match http.access_log {
        None => "off",
        Some(AccessFormat::Json) => "json",
        Some(AccessFormat::Common) => "common",
    }
}

/// `access-log=json`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpSetting {
    said: String,
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    AccessLog(Option<AccessFormat>),
    Compress(bool),
    ServerTiming(bool),
    Https(HttpsMode),
    Hsts(Option<u64>),
    Sticky(bool),
    Body(Option<u64>),
    InFlight(Option<u32>),
    Rate(Option<u32>),
    Protocol(Protocol),
    Wait(u64),
    Drain(u64),
}

impl Change {
    fn apply(self, http: &mut HttpSettings) {
        match self {
            Self::AccessLog(format) => http.access_log = format,
            Self::Compress(on) => http.compress = on,
            Self::ServerTiming(on) => http.server_timing = on,
            Self::Https(mode) => http.https = mode,
            Self::Hsts(seconds) => http.hsts = seconds,
            Self::Sticky(on) => http.sticky = on,
            Self::Body(bytes) => http.body = bytes,
            Self::InFlight(count) => http.in_flight = count,
            Self::Rate(count) => http.rate = count,
            Self::Protocol(protocol) => http.protocol = protocol,
            Self::Wait(seconds) => http.wait = seconds,
            Self::Drain(seconds) => http.drain = seconds,
        }
    }
}

/// How a value is read; None: it is none.
type Read = fn(&str) -> Option<Change>;

/// Each setting: its name, what it may be, and how that is read.
const SETTINGS: [(&str, &str, Read); 12] = [
    ("https", "redirect, both or auto", |value| https(value).map(Change::Https)),
    ("hsts", "a time such as 365d, or off", |value| or_off(value, hsts).map(Change::Hsts)),
    ("wait", "a time up to 5m such as 10s, or off", |value| {
        or_off(value, |value| seconds(value, 300)).map(|wait| Change::Wait(wait.unwrap_or(0)))
    }),
    ("drain", "a time up to 1h such as 5m, or off", |value| {
        or_off(value, |value| seconds(value, 3600)).map(|drain| Change::Drain(drain.unwrap_or(0)))
    }),
    ("sticky", "on or off", |value| switch(value).map(Change::Sticky)),
    ("body", "a size such as 100M, or off", |value| or_off(value, parse_bytes).map(Change::Body)),
    ("in-flight", "a number above 0, or off", |value| or_off(value, count).map(Change::InFlight)),
    ("rate", "a number of requests a second for one address, or off", |value| or_off(value, count).map(Change::Rate)),
    ("protocol", "http1 or h2c", |value| protocol(value).map(Change::Protocol)),
    ("access-log", "json, common or off", |value| or_off(value, format).map(Change::AccessLog)),
    ("compress", "on or off", |value| switch(value).map(Change::Compress)),
    ("server-timing", "on or off", |value| switch(value).map(Change::ServerTiming)),
];

impl FromStr for HttpSetting {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let Some((_, expected, read)) = SETTINGS.iter().find(|(known, ..)| *known == name) else {
            let known: Vec<&str> = SETTINGS.iter().map(|(known, ..)| *known).collect();
            return Err(format!("{name:?} is no setting: known are {}", known.join(", ")));
        };
        let change = read(value).ok_or_else(|| format!("{text:?}: {name} is {expected}"))?;
        Ok(Self { said: text.to_owned(), change })
    }
}

#[expect(clippy::option_option, reason = "whether it can be read, and whether it is off")]
fn or_off<T>(value: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if value == "off" { Some(None) } else { read(value).map(Some) }
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn https(value: &str) -> Option<HttpsMode> {
    [HttpsMode::Auto, HttpsMode::Redirect, HttpsMode::Both].into_iter().find(|mode| mode.as_str() == value)
}

fn protocol(value: &str) -> Option<Protocol> {
    [Protocol::Http1, Protocol::H2c].into_iter().find(|protocol| protocol.as_str() == value)
}

fn format(value: &str) -> Option<AccessFormat> {
    match value {
        "json" => Some(AccessFormat::Json),
        "common" => Some(AccessFormat::Common),
        _ => None,
    }
}

fn count(value: &str) -> Option<u32> {
    value.parse().ok().filter(|count| *count > 0)
}

fn seconds(value: &str, most: u64) -> Option<u64> {
    parse_seconds(value).filter(|seconds| (1..=most).contains(seconds))
}

/// `365d`: in days, hours or minutes, at most ten years.
fn hsts(value: &str) -> Option<u64> {
    const LONGEST: u64 = 3650 * 86400;
    let (unit, seconds) =
        [('d', 86400), ('h', 3600), ('m', 60)].into_iter().find(|(unit, _)| value.ends_with(*unit))?;
    let digits = value.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let amount: u64 = digits.parse().ok()?;
    amount.checked_mul(seconds).filter(|seconds| (1..=LONGEST).contains(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_their_names() {
        for (text, change) in [
            ("https=both", Change::Https(HttpsMode::Both)),
            ("hsts=off", Change::Hsts(None)),
            ("hsts=1m", Change::Hsts(Some(60))),
            ("hsts=3650d", Change::Hsts(Some(3650 * 86400))),
            ("wait=5m", Change::Wait(300)),
            ("wait=off", Change::Wait(0)),
            ("drain=1h", Change::Drain(3600)),
            ("drain=off", Change::Drain(0)),
            ("sticky=on", Change::Sticky(true)),
            ("body=100M", Change::Body(Some(100 << 20))),
            ("in-flight=1", Change::InFlight(Some(1))),
            ("rate=off", Change::Rate(None)),
            ("protocol=h2c", Change::Protocol(Protocol::H2c)),
            ("access-log=json", Change::AccessLog(Some(AccessFormat::Json))),
            ("access-log=off", Change::AccessLog(None)),
            ("compress=off", Change::Compress(false)),
            ("server-timing=on", Change::ServerTiming(true)),
        ] {
            assert_eq!(text.parse::<HttpSetting>().map(|setting| setting.change), Ok(change), "{text}");
        }
    }

    #[test]
    fn what_a_setting_cannot_be_is_said() {
        for bad in [
            "hsts=",
            "hsts=0d",
            "hsts=1",
            "hsts=-1d",
            "hsts=1.5d",
            "hsts=3651d",
            "hsts=99999999999999999999d",
            "hsts=+1d",
            "wait=0s",
            "wait=6m",
            "wait=5",
            "drain=61m",
            "body=0.5M",
            "in-flight=0",
            "rate=-1",
            "sticky=yes",
            "sticky",
            "https=on",
            "protocol=h2",
        ] {
            assert!(bad.parse::<HttpSetting>().is_err(), "{bad}");
        }
        insta::assert_snapshot!("rate=many".parse::<HttpSetting>().unwrap_err(), @r#""rate=many": rate is a number of requests a second for one address, or off"#);
        insta::assert_snapshot!("speed=10".parse::<HttpSetting>().unwrap_err(), @r#""speed" is no setting: known are https, hsts, wait, drain, sticky, body, in-flight, rate, protocol, access-log, compress, server-timing"#);
    }
}
