//! Commands about releases, and about whose are taken.

use crate::commands::arguments::{ExportFormat, Form, KeptBuilds};
use crate::names::{AppName, KeyName, Version};

/// Commands about releases, and about whose are taken.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Releases {
    /// List an app's releases
    #[command(name = "releases")]
    List {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// List an app's builds: who wanted them, which wait, and what became of them
    #[command(name = "builds")]
    Builds {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// End the build that is under way; nothing changes
    #[command(name = "builds:cancel")]
    Cancel {
        app: AppName,
        /// Such as 12, also of one that waits; without it the one that is under way
        #[arg(value_name = "BUILD")]
        number: Option<u32>,
    },
    /// Compare every file of a release with what it was when it was made
    #[command(name = "releases:verify")]
    Verify {
        app: AppName,
        /// Such as v12; without it the one that serves
        #[arg(value_name = "RELEASE")]
        version: Option<Version>,
        #[command(flatten)]
        form: Form,
    },
    /// Change of how many builds releases are kept to roll back to (10)
    #[command(name = "releases:keep")]
    Keep {
        app: AppName,
        #[arg(value_name = "N")]
        builds: KeptBuilds,
    },
    /// Write a release to standard output, for Docker or for another server
    #[command(name = "releases:export")]
    Export {
        app: AppName,
        /// Such as v12; without it the one that serves
        #[arg(value_name = "RELEASE")]
        version: Option<Version>,
        /// oci: an image for `docker load` and skopeo; tar: signed, for `deploy`. Configuration is in neither
        #[arg(long, value_name = "oci|tar", default_value = "oci")]
        format: ExportFormat,
        /// Put the image over the one on standard input, as `docker save` writes it; without it the image has no system of its own
        #[arg(long, value_name = "-", value_parser = ["-"])]
        base: Option<String>,
    },
    /// Print the public key with which this server signs releases
    #[command(name = "releases:key")]
    Key,
    /// List whose releases can be deployed here
    #[command(name = "releases:trusted")]
    Trusted(#[command(flatten)] Form),
    /// Trust releases that are signed with the public key on standard input
    #[command(name = "releases:trust")]
    Trust { name: KeyName },
    /// Trust a signer no more
    #[command(name = "releases:distrust")]
    Distrust { name: KeyName },
    /// Release the code, dependencies and configuration of an earlier release again
    Rollback {
        app: AppName,
        /// Such as v12; without it the one before
        #[arg(value_name = "RELEASE")]
        to: Option<Version>,
    },
    /// Deploy a tar or tar.gz from standard input: of a tree, or of another server's release
    Deploy { app: AppName },
}
