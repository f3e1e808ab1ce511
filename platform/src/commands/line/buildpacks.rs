//! Commands about buildpacks.

use builder::reference::Reference;

use crate::commands::arguments::{Form, place};
use crate::names::AppName;
use crate::packages::Repository;

/// Commands about buildpacks.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Buildpacks {
    /// List the buildpacks chosen for an app; without APP those that the server has
    #[command(name = "buildpacks", visible_alias = "buildpacks:list")]
    List {
        app: Option<AppName>,
        #[command(flatten)]
        form: Form,
    },
    /// Choose one more buildpack for an app's builds, instead of the built-in order
    #[command(name = "buildpacks:add")]
    Add {
        app: AppName,
        /// ID or ID@VERSION of one that the server has, or ./DIRECTORY of the app's repository
        #[arg(value_name = "BUILDPACK")]
        buildpack: Reference,
        /// Its place among them, from 1; without it the last
        #[arg(long, value_name = "N", value_parser = place)]
        index: Option<usize>,
    },
    /// Choose a buildpack instead of the first that is chosen
    #[command(name = "buildpacks:set")]
    Set {
        app: AppName,
        /// ID or ID@VERSION of one that the server has, or ./DIRECTORY of the app's repository
        #[arg(value_name = "BUILDPACK")]
        buildpack: Reference,
        /// Instead of the Nth
        #[arg(long, value_name = "N", value_parser = place)]
        index: Option<usize>,
    },
    /// Choose one buildpack less
    #[command(name = "buildpacks:remove")]
    Remove {
        app: AppName,
        #[arg(value_name = "BUILDPACK")]
        buildpack: Option<Reference>,
        /// The Nth
        #[arg(long, value_name = "N", value_parser = place, conflicts_with = "buildpack")]
        index: Option<usize>,
    },
    /// Choose none: project.toml says which, or the built-in ones are tried
    #[command(name = "buildpacks:clear")]
    Clear { app: AppName },
    /// Say which buildpacks would build an app and why others would not, without building
    #[command(name = "buildpacks:detect")]
    Detect {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Give the server buildpacks: from standard input (tar or tar.gz of a directory, or .cnb), or a git repository
    #[command(name = "buildpacks:install")]
    Install {
        /// `https://HOST/PATH`, or `https://HOST/PATH#BRANCH-OR-TAG`
        #[arg(value_name = "REPOSITORY")]
        from: Option<Repository>,
        /// Instead of those of the same name and version
        #[arg(long)]
        replace: bool,
    },
    /// Take a buildpack from the server, unless an app has chosen it
    #[command(name = "buildpacks:uninstall")]
    Uninstall {
        /// ID@VERSION; without a version all of that ID
        #[arg(value_name = "BUILDPACK")]
        buildpack: Reference,
    },
}
