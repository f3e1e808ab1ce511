//! How an app's requests are handled.

use std::str::FromStr;

use super::Call;
use super::arguments::Form;
use crate::failure::Result;
use crate::http::HttpSettings;
use crate::listing::Details;
use crate::logs::AccessFormat;
use crate::names::AppName;

pub(super) async fn show(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let http = call.app(name)?.http;
    let details = Details::new(format!("{name} http"))
        .with("app", name.as_str())
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
        "-----> {name}: access log {}, compression {}, server timing {}\n",
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
}

impl HttpSetting {
    fn apply(self, http: &mut HttpSettings) {
        match self {
            Self::AccessLog(format) => http.access_log = format,
            Self::Compress(on) => http.compress = on,
            Self::ServerTiming(on) => http.server_timing = on,
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
            _ => Err(format!(
                "{text:?} is not access-log=json, access-log=common, access-log=off, compress=on, compress=off, server-timing=on or server-timing=off"
            )),
        }
    }
}
