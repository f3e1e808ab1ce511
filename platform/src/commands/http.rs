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
        setting.apply(&mut http);
    }
    call.platform.store.set_http(app.id, http)?;
    call.platform.route_of(app.id);
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
#[derive(Debug, Clone)]
pub(super) struct HttpSetting {
    said: String,
    take: Take,
}

/// Sets what a value says; None, and nothing is changed: it is none.
type Take = fn(&mut HttpSettings, &str) -> Option<()>;

/// Each setting: its name, what it may be, and what it sets.
const SETTINGS: [(&str, &str, Take); 12] = [
    ("https", "redirect, both or auto", |http, value| put(&mut http.https, https(value))),
    ("hsts", "a time such as 365d, or off", |http, value| put(&mut http.hsts, or_off(value, hsts))),
    ("wait", "a time up to 5m such as 10s, or off", |http, value| put(&mut http.wait, seconds(value, 300))),
    ("drain", "a time up to 1h such as 5m, or off", |http, value| put(&mut http.drain, seconds(value, 3600))),
    ("sticky", "on or off", |http, value| put(&mut http.sticky, switch(value))),
    ("body", "a size such as 100M, or off", |http, value| put(&mut http.body, or_off(value, parse_bytes))),
    ("in-flight", "a number above 0, or off", |http, value| put(&mut http.in_flight, or_off(value, count))),
    ("rate", "a number of requests a second for one address, or off", |http, value| {
        put(&mut http.rate, or_off(value, count))
    }),
    ("protocol", "http1 or h2c", |http, value| put(&mut http.protocol, protocol(value))),
    ("access-log", "json, common or off", |http, value| put(&mut http.access_log, or_off(value, format))),
    ("compress", "on or off", |http, value| put(&mut http.compress, switch(value))),
    ("server-timing", "on or off", |http, value| put(&mut http.server_timing, switch(value))),
];

fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

impl HttpSetting {
    /// True if it has a value that its setting may have.
    fn apply(&self, http: &mut HttpSettings) -> bool {
        let value = self.said.split_once('=').map_or("", |(_, value)| value);
        (self.take)(http, value).is_some()
    }
}

impl FromStr for HttpSetting {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let name = text.split('=').next().unwrap_or_default();
        let Some((_, expected, take)) = SETTINGS.iter().find(|(known, ..)| *known == name) else {
            let known: Vec<&str> = SETTINGS.iter().map(|(known, ..)| *known).collect();
            return Err(format!("{name:?} is no setting: known are {}", known.join(", ")));
        };
        let setting = Self { said: text.to_owned(), take: *take };
        if setting.apply(&mut HttpSettings::default()) {
            Ok(setting)
        } else {
            Err(format!("{text:?}: {name} is {expected}"))
        }
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

/// 0: off.
fn seconds(value: &str, most: u64) -> Option<u64> {
    let seconds = or_off(value, |value| parse_seconds(value).filter(|seconds| (1..=most).contains(seconds)))?;
    Some(seconds.unwrap_or(0))
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
        let before = HttpSettings {
            hsts: Some(1),
            rate: Some(1),
            access_log: Some(AccessFormat::Common),
            compress: true,
            ..HttpSettings::default()
        };
        for (text, after) in [
            ("https=both", HttpSettings { https: HttpsMode::Both, ..before }),
            ("hsts=off", HttpSettings { hsts: None, ..before }),
            ("hsts=1m", HttpSettings { hsts: Some(60), ..before }),
            ("hsts=3650d", HttpSettings { hsts: Some(3650 * 86400), ..before }),
            ("wait=5m", HttpSettings { wait: 300, ..before }),
            ("wait=off", HttpSettings { wait: 0, ..before }),
            ("drain=1h", HttpSettings { drain: 3600, ..before }),
            ("drain=off", HttpSettings { drain: 0, ..before }),
            ("sticky=on", HttpSettings { sticky: true, ..before }),
            ("body=100M", HttpSettings { body: Some(100 << 20), ..before }),
            ("in-flight=1", HttpSettings { in_flight: Some(1), ..before }),
            ("rate=off", HttpSettings { rate: None, ..before }),
            ("protocol=h2c", HttpSettings { protocol: Protocol::H2c, ..before }),
            ("access-log=json", HttpSettings { access_log: Some(AccessFormat::Json), ..before }),
            ("access-log=off", HttpSettings { access_log: None, ..before }),
            ("compress=off", HttpSettings { compress: false, ..before }),
            ("server-timing=on", HttpSettings { server_timing: true, ..before }),
        ] {
            let mut http = before;
            assert!(text.parse::<HttpSetting>().unwrap().apply(&mut http));
            assert_eq!(http, after, "{text}");
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
