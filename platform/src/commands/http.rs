//! How an app's requests are handled.

use std::str::FromStr;

use super::Call;
use super::arguments::Form;
use crate::failure::Result;
use crate::http::{HttpSettings, HttpsMode};
use crate::limits::show_seconds;
use crate::listing::{Cell, Details};
use crate::logs::AccessFormat;
use crate::names::AppName;

pub(super) async fn show(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let http = call.app(name)?.http;
    let details = Details::new(format!("{name} http"))
        .with("app", name.as_str())
        .with("https", http.https.as_str())
        .with("hsts", http.hsts.map(Cell::Seconds))
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
    call.platform.refresh_route(&app)?;
    let on = |on| if on { "on" } else { "off" };
    let said = format!(
        "-----> {name}: https {}, hsts {}, access log {}, compression {}, server timing {}\n",
        http.https.as_str(),
        http.hsts.map_or_else(|| "off".to_owned(), show_seconds),
        access_log(http),
        on(http.compress),
        on(http.server_timing)
    );
    call.console.print(&said).await;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpSetting {
    AccessLog(Option<AccessFormat>),
    Compress(bool),
    ServerTiming(bool),
    Https(HttpsMode),
    Hsts(Option<u64>),
}

impl HttpSetting {
    fn apply(self, http: &mut HttpSettings) {
        match self {
            Self::AccessLog(format) => http.access_log = format,
            Self::Compress(on) => http.compress = on,
            Self::ServerTiming(on) => http.server_timing = on,
            Self::Https(mode) => http.https = mode,
            Self::Hsts(seconds) => http.hsts = seconds,
        }
    }
}

impl FromStr for HttpSetting {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "access-log=off" => Ok(Self::AccessLog(None)),
            "access-log=json" => Ok(Self::AccessLog(Some(AccessFormat::Json))),
            "access-log=common" => Ok(Self::AccessLog(Some(AccessFormat::Common))),
            "compress=on" => Ok(Self::Compress(true)),
            "compress=off" => Ok(Self::Compress(false)),
            "server-timing=on" => Ok(Self::ServerTiming(true)),
            "server-timing=off" => Ok(Self::ServerTiming(false)),
            "https=auto" => Ok(Self::Https(HttpsMode::Auto)),
            "https=redirect" => Ok(Self::Https(HttpsMode::Redirect)),
            "https=both" => Ok(Self::Https(HttpsMode::Both)),
            "hsts=off" => Ok(Self::Hsts(None)),
            _ => hsts(text).ok_or_else(|| {
                format!(
                    "{text:?} is not https=auto, https=redirect, https=both, hsts=365d, hsts=off, access-log=json, access-log=common, access-log=off, compress=on, compress=off, server-timing=on or server-timing=off"
                )
            }),
        }
    }
}

/// `hsts=365d`: in days, hours or minutes, at most ten years.
fn hsts(text: &str) -> Option<HttpSetting> {
    const LONGEST: u64 = 3650 * 86400;
    let text = text.strip_prefix("hsts=")?;
    let (unit, seconds) = [('d', 86400), ('h', 3600), ('m', 60)].into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let amount: u64 = digits.parse().ok()?;
    let seconds = amount.checked_mul(seconds).filter(|seconds| (1..=LONGEST).contains(seconds))?;
    Some(HttpSetting::Hsts(Some(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsts_is_a_time() {
        let day = 86400;
        for (text, seconds) in [("1m", 60), ("12h", day / 2), ("365d", 365 * day), ("3650d", 3650 * day)] {
            assert_eq!(format!("hsts={text}").parse(), Ok(HttpSetting::Hsts(Some(seconds))), "{text}");
        }
        for bad in ["", "0d", "d", "1", "-1d", "1.5d", "3651d", "1y", "99999999999999999999d", "+1d"] {
            assert!(format!("hsts={bad}").parse::<HttpSetting>().is_err(), "{bad}");
        }
    }
}
