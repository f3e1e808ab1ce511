//! For which machines a buildpack is.

use std::fs;

use serde::Deserialize;

/// An entry of `[[targets]]`. What it leaves open matches every machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Target {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) arch: String,
    #[serde(default)]
    pub(crate) variant: String,
    #[serde(default, alias = "distributions")]
    pub(crate) distros: Vec<Distribution>,
}

/// A distribution of Linux.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Distribution {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: String,
}

/// What builds run on. The system that sandboxes show is the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) arch: &'static str,
    pub(crate) distribution: String,
    pub(crate) version: String,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Self {
        Self::described(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn described(release: &str) -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        let distribution = field(release, "ID").unwrap_or("linux").to_owned();
        Self { arch, distribution, version: field(release, "VERSION_ID").unwrap_or("rolling").to_owned() }
    }

    /// Its variables of the specification, by minor version of the Buildpack API.
    pub(crate) fn variables(&self, api_minor: u32) -> Vec<(&'static str, String)> {
        if api_minor < 10 {
            return vec![("CNB_STACK_ID", format!("{}-{}", self.distribution, self.version))];
        }
        let mut variables = vec![
            ("CNB_TARGET_OS", "linux".to_owned()),
            ("CNB_TARGET_ARCH", self.arch.to_owned()),
            ("CNB_TARGET_DISTRO_NAME", self.distribution.clone()),
            ("CNB_TARGET_DISTRO_VERSION", self.version.clone()),
        ];
        if api_minor >= 12 {
            variables.push(("CNB_EXEC_ENV", EXECUTION.to_owned()));
        }
        variables
    }
}

/// The execution environment (Buildpack API 0.12) of all builds here.
const EXECUTION: &str = "production";

/// Whether something that is for these execution environments (none named: all) is for ours.
pub(crate) fn is_for_us(exec_env: &[String]) -> bool {
    exec_env.is_empty() || exec_env.iter().any(|name| name == EXECUTION || name == "all" || name == "*")
}

impl Target {
    /// Whether a buildpack for this target can be used on the machine.
    pub(crate) fn fits(&self, machine: &Machine) -> bool {
        let open_or = |wanted: &str, have: &str| wanted.is_empty() || wanted == have;
        let distribution = |wanted: &Distribution| {
            open_or(&wanted.name, &machine.distribution) && open_or(&wanted.version, &machine.version)
        };
        // The variant of this machine is not known, and what is not known matches.
        open_or(&self.os, "linux")
            && open_or(&self.arch, machine.arch)
            && (self.distros.is_empty() || self.distros.iter().any(distribution))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let platform = [&self.os, &self.arch, &self.variant].map(String::as_str);
        write!(f, "{}", join(&platform, "/"))?;
        let distros: Vec<_> = self.distros.iter().map(|distro| join(&[&distro.name, &distro.version], " ")).collect();
        if distros.is_empty() { Ok(()) } else { write!(f, " ({})", distros.join(", ")) }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "linux/{} ({} {})", self.arch, self.distribution, self.version)
    }
}

fn join(parts: &[&str], between: &str) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(between)
}

fn field<'a>(release: &'a str, name: &str) -> Option<&'a str> {
    let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\''])).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Machine {
        Machine { arch: "amd64", distribution: "debian".into(), version: "12".into() }
    }

    /// After the reference lifecycle's cases of `TargetSatisfiedForBuild`.
    #[test]
    fn targets() {
        let cases = [
            ("", true),
            ("os='linux'", true),
            ("os='linux'\narch='amd64'", true),
            ("arch='amd64'\nvariant='v3'", true),
            ("os='windows'", false),
            ("os='linux'\narch='arm64'", false),
            ("[[distros]]\nname='debian'\nversion='12'", true),
            ("[[distros]]\nname='debian'", true),
            ("[[distros]]\nversion='12'", true),
            ("[[distros]]\nname='debian'\nversion='11'", false),
            ("[[distros]]\nname='ubuntu'\nversion='12'", false),
            ("[[distributions]]\nname='ubuntu'\nversion='24.04'", false),
            ("[[distros]]\nname='ubuntu'\nversion='24.04'\n[[distros]]\nname='debian'\nversion='12'", true),
        ];
        for (text, expected) in cases {
            let target: Target = toml::from_str(text).unwrap();
            assert_eq!(target.fits(&debian()), expected, "{text}");
        }
    }

    #[test]
    fn for_people() {
        let target: Target =
            toml::from_str("os='linux'\narch='arm64'\n[[distros]]\nname='debian'\nversion='12'").unwrap();
        assert_eq!(target.to_string(), "linux/arm64 (debian 12)");
        assert_eq!(debian().to_string(), "linux/amd64 (debian 12)");
    }

    #[test]
    fn variables_by_api() {
        let names = |api| debian().variables(api).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ");
        assert_eq!(names(9), "CNB_STACK_ID");
        let targets = "CNB_TARGET_OS CNB_TARGET_ARCH CNB_TARGET_DISTRO_NAME CNB_TARGET_DISTRO_VERSION";
        assert_eq!(names(10), targets);
        assert_eq!(names(12), format!("{targets} CNB_EXEC_ENV"));
    }

    #[test]
    fn fields_of_os_release() {
        let release = "PRETTY_NAME=\"Debian 12\"\nVERSION_ID=\"12\"\nID=debian\nID_LIKE=x\nEMPTY=\n";
        let machine = Machine::described(release);
        assert_eq!((machine.distribution.as_str(), machine.version.as_str()), ("debian", "12"));
        assert_eq!(Machine::described("ID='arch'").version, "rolling");
        assert_eq!(field(release, "EMPTY"), None);
        assert_eq!(field(release, "VERSION"), None);
    }
}
