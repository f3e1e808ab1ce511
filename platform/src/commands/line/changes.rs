//! Which commands may change the server's state, and so must not be under way when another daemon takes over.

use super::{Access, Apps, Buildpacks, Certs, Command, Configuration, Processes, Releases, Resources, Settings};

impl Command {
    /// Whether it may change anything: all do that are not known to look only.
    pub(in crate::commands) fn changes(&self) -> bool {
        let only_looks = match self {
            // The last are sessions, which outlive an upgrade.
            Self::Help { .. } | Self::Version | Self::Upgrade | Self::Attached(_) => true,
            Self::Apps(command) => {
                matches!(command, Apps::List(_) | Apps::Info { .. } | Apps::Url { .. } | Apps::SshConfig)
            }
            Self::Processes(command) => match command {
                Processes::Scale { wanted, .. } => wanted.is_empty(),
                Processes::Sleep { setting, .. } => setting.is_none(),
                command => matches!(command, Processes::List { .. } | Processes::Logs { .. }),
            },
            Self::Configuration(command) => {
                matches!(command, Configuration::List { .. } | Configuration::Get { .. })
            }
            Self::Releases(command) => matches!(
                command,
                // A build that is cancelled is under way: whoever waits for it must not keep this out.
                Releases::List { .. }
                    | Releases::Builds { .. }
                    | Releases::Cancel { .. }
                    | Releases::Verify { .. }
                    | Releases::Export { .. }
                    | Releases::Key
                    | Releases::Trusted(_)
            ),
            Self::Buildpacks(command) => matches!(command, Buildpacks::List { .. }),
            Self::Access(command) => matches!(command, Access::Keys(_) | Access::Domains { .. }),
            Self::Certs(command) => matches!(command, Certs::List { .. }),
            Self::Settings(command) => matches!(command, Settings::Network { .. } | Settings::Http { .. }),
            Self::Resources(command) => matches!(command, Resources::List { .. }),
        };
        !only_looks
    }
}
