//! Whom the router believes about the client: `--trusted-proxies 10.0.0.5,192.0.2.0/24 --proxy-protocol on`.

use router::{Network, Proxies};

use super::SettingsError;

/// Those named, and in which way they speak.
pub(super) fn believed(networks: Option<&str>, protocol: Option<&str>) -> Result<Proxies, SettingsError> {
    let trusted = networks.map(trusted).transpose()?.unwrap_or_default();
    let protocol = match protocol {
        None | Some("off") => false,
        Some("on") if !trusted.is_empty() => true,
        Some("on") => return Err(wrong("proxy-protocol", "on", "needs trusted-proxies: anybody could say anything")),
        Some(other) => return Err(wrong("proxy-protocol", other, "expected on or off")),
    };
    Ok(Proxies { trusted, protocol })
}

fn trusted(networks: &str) -> Result<Vec<Network>, SettingsError> {
    let parsed: Result<Vec<Network>, _> = networks.split(',').map(|network| network.trim().parse()).collect();
    parsed.map_err(|error: router::InvalidNetwork| wrong("trusted-proxies", networks, &error.to_string()))
}

fn wrong(name: &'static str, value: &str, reason: &str) -> SettingsError {
    SettingsError::Value { name, value: value.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(networks: Option<&str>, protocol: Option<&str>) -> Result<(usize, bool), String> {
        let proxies = believed(networks, protocol);
        proxies.map(|proxies| (proxies.trusted.len(), proxies.protocol)).map_err(|error| error.to_string())
    }

    #[test]
    fn networks_and_how_they_speak() {
        assert_eq!(read(None, None), Ok((0, false)));
        assert_eq!(read(Some("10.0.0.5, 192.0.2.0/24,2001:db8::/32"), None), Ok((3, false)));
        assert_eq!(read(Some("10.0.0.5"), Some("on")), Ok((1, true)));
        assert_eq!(read(Some("10.0.0.5"), Some("off")), Ok((1, false)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (networks, protocol) in [
            (Some("10.0.0.1/8"), None),
            (Some(""), None),
            (Some("proxy"), None),
            (None, Some("on")),
            (None, Some("v2")),
        ] {
            assert!(read(networks, protocol).is_err(), "{networks:?} {protocol:?}");
        }
        insta::assert_snapshot!(read(Some("10.0.0.5,x"), None).unwrap_err(), @r#"trusted-proxies = "10.0.0.5,x": "x" is neither an address nor a network such as 10.0.0.0/8"#);
    }
}
