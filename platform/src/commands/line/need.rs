//! Who may give which command: the one place where that is decided.

use super::{
    Access, Apps, Attached, Buildpacks, Certs, Command, Configuration, Processes, Releases, Resources, Settings,
};
use crate::access::Need;
use crate::names::AppName;

/// What the actor must be allowed, and with which app.
type Needed<'a> = (Need, Option<&'a AppName>);

/// They show each actor what it may see.
const NOTHING: Needed<'static> = (Need::Nothing, None);
const ADMIN: Needed<'static> = (Need::Admin, None);

fn deploy(app: &AppName) -> Needed<'_> {
    (Need::Deploy, Some(app))
}

fn app_admin(app: &AppName) -> Needed<'_> {
    (Need::AppAdmin, Some(app))
}

impl Command {
    /// What the actor must be allowed, and with which app.
    pub(in crate::commands) fn need(&self) -> Needed<'_> {
        match self {
            Self::Help { .. } | Self::Version => NOTHING,
            Self::Upgrade => ADMIN,
            Self::Apps(command) => apps(command),
            Self::Processes(command) => processes(command),
            Self::Attached(command) => attached(command),
            Self::Configuration(command) => configuration(command),
            Self::Releases(command) => releases(command),
            Self::Buildpacks(command) => buildpacks(command),
            Self::Access(command) => access(command),
            Self::Certs(command) => certs(command),
            Self::Settings(command) => settings(command),
            Self::Resources(command) => resources(command),
        }
    }
}

fn apps(command: &Apps) -> Needed<'_> {
    match command {
        Apps::List(_) | Apps::SshConfig => NOTHING,
        Apps::Create { .. } => ADMIN,
        // A new name is taken from what all apps share.
        Apps::Rename { app, .. } => (Need::Admin, Some(app)),
        Apps::Info { app, .. } | Apps::Url { app } => deploy(app),
        Apps::Destroy { app, .. } => app_admin(app),
    }
}

fn processes(command: &Processes) -> Needed<'_> {
    match command {
        Processes::StopAll => ADMIN,
        Processes::Scale { app, wanted, .. } if wanted.is_empty() => deploy(app),
        Processes::Sleep { app, setting: None, .. }
        | Processes::List { app, .. }
        | Processes::Restart { app, .. }
        | Processes::Rebuild { app }
        | Processes::Logs { app, .. } => deploy(app),
        Processes::Scale { app, .. }
        | Processes::Sleep { app, .. }
        | Processes::Stop { app }
        | Processes::Start { app } => app_admin(app),
    }
}

fn attached(command: &Attached) -> Needed<'_> {
    match command {
        Attached::Run { app, .. } | Attached::Enter { app, .. } | Attached::ExportData { app } => app_admin(app),
    }
}

fn configuration(command: &Configuration) -> Needed<'_> {
    match command {
        Configuration::List { app, .. }
        | Configuration::Get { app, .. }
        | Configuration::Set { app, .. }
        | Configuration::Unset { app, .. } => app_admin(app),
    }
}

fn releases(command: &Releases) -> Needed<'_> {
    match command {
        Releases::Key => NOTHING,
        Releases::Trusted(_) | Releases::Trust { .. } | Releases::Distrust { .. } => ADMIN,
        Releases::List { app, .. }
        | Releases::Builds { app, .. }
        | Releases::Cancel { app, .. }
        | Releases::Verify { app, .. }
        | Releases::Rollback { app, .. }
        | Releases::Deploy { app } => deploy(app),
        Releases::Export { app, .. } | Releases::Keep { app, .. } => app_admin(app),
    }
}

fn buildpacks(command: &Buildpacks) -> Needed<'_> {
    match command {
        Buildpacks::List { app: None, .. } => NOTHING,
        Buildpacks::Install { .. } | Buildpacks::Uninstall { .. } => ADMIN,
        Buildpacks::List { app: Some(app), .. } | Buildpacks::Detect { app, .. } => deploy(app),
        Buildpacks::Add { app, .. }
        | Buildpacks::Set { app, .. }
        | Buildpacks::Remove { app, .. }
        | Buildpacks::Clear { app } => app_admin(app),
    }
}

fn access(command: &Access) -> Needed<'_> {
    match command {
        Access::Keys(_) => NOTHING,
        Access::AddKey { .. } | Access::RemoveKey { .. } => ADMIN,
        Access::Domains { app, .. } => deploy(app),
        Access::AddDomains { app, .. } | Access::RemoveDomains { app, .. } => app_admin(app),
    }
}

fn certs(command: &Certs) -> Needed<'_> {
    match command {
        Certs::List { app: None, .. } | Certs::Authority => NOTHING,
        Certs::Add { app: None, .. } | Certs::Remove { app: None, .. } => ADMIN,
        Certs::List { app: Some(app), .. } => deploy(app),
        Certs::Add { app: Some(app), .. } | Certs::Remove { app: Some(app), .. } | Certs::Retry { app, .. } => {
            app_admin(app)
        }
    }
}

fn settings(command: &Settings) -> Needed<'_> {
    match command {
        Settings::Network { app, .. } | Settings::Http { app, .. } => deploy(app),
        Settings::ImportData { app }
        | Settings::Checks { app, .. }
        | Settings::Git { app, .. }
        | Settings::Engine { app, .. }
        | Settings::SetNetwork { app, .. }
        | Settings::SetHttp { app, .. }
        | Settings::MaintenanceOn { app }
        | Settings::MaintenanceOff { app } => app_admin(app),
    }
}

fn resources(command: &Resources) -> Needed<'_> {
    match command {
        Resources::List { app, .. } => deploy(app),
        Resources::Limit { app, .. } | Resources::Clear { app, .. } => app_admin(app),
    }
}
