//! The lifecycle with buildpacks written as shell scripts.

#![expect(clippy::unwrap_used, reason = "functions of tests beside the test itself")]

mod detect;
mod export;
mod groups;
mod launch;
mod restore;
mod shared;
mod workshop;
