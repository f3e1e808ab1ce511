//! Source tree in, layers and process types out: the lifecycle of Cloud Native Buildpacks.
//!
//! [`source`] lays a tree from outside out safely; [`build`] runs detect, restore, build and export over it; [`launch`]
//! says with what environment a process of the result is to be started. Buildpacks run in a sandbox, which this crate asks for
//! through [`Sandbox`]; it knows neither git nor SSH nor HTTP, nor how sandboxes are made.
//!
//! Specification: `buildpacks/spec`, `buildpack.md` and `platform.md`, Buildpack API 0.7 to 0.12.

pub mod inventory;
pub mod launch;
pub mod launcher;
pub mod lay_out;
pub mod order;
pub mod procfile;
pub mod project;
pub mod reference;
pub mod source;
pub mod store;

mod blocking;
mod buildpack;
mod digest;
mod directory;
mod environment;
mod image;
mod lifecycle;
mod sandbox;
mod target;
mod tree;

pub use buildpack::{Buildpack, BuildpackError};
pub use digest::{Digest, InvalidDigest};
pub use image::{EnvAction, EnvChange, Image, Layer, Preparation, PreparationKind, ProcessType};
pub use lifecycle::{
    BuildError, BuildpackVerdict, GroupVerdict, Request, Shared, build, cached_layers, copy_code, explain, forget_gone,
};
pub use order::Order;
pub use sandbox::{Bind, Output, Sandbox, SandboxError, Step, StepExit};
