//! The product: apps, releases and what runs of them, for users over SSH, git and HTTP.
//!
//! This crate is where the others meet: gitd's pushes become builder's builds, engine's instances and router's routes.
//! The story of a deploy is [`pipeline`]; what is true is in [`store`]; what runs is [`formation`]'s.
//! It knows no protocol and no system call.

pub mod access;
pub mod apps;
pub mod archive;
pub mod bounds;
pub mod build;
pub mod buildpacks;
pub mod change;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod commands;
pub mod control;
pub mod data;
pub mod demo;
pub mod deploy;
pub mod diagnosis;
mod disk;
pub mod dotenv;
pub mod edge;
pub mod engines;
pub mod export;
pub mod failure;
mod fetch;
pub mod formation;
pub mod gate;
pub mod handover;
pub mod home;
pub mod http;
pub mod import;
pub mod inside;
pub mod instance;
pub mod keeper;
pub mod limits;
pub mod listing;
pub mod logs;
pub mod names;
pub mod network;
pub mod notify;
pub mod oci;
pub mod packages;
pub mod pipeline;
pub mod plan;
pub mod platform;
pub mod pump;
pub mod quota;
pub mod recipe;
pub mod reconcile;
pub mod release;
pub mod sandbox;
pub mod scaling;
pub mod server;
pub mod sessions;
pub mod settings;
pub mod sockets;
pub mod source;
pub mod store;
pub mod terms;
pub mod toolchain;
pub mod traffic;
pub mod upgrade;
pub mod uses;
pub mod verify;
pub mod words;
