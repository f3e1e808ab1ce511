//! What git's `receive.fsckObjects` refuses, by git's own names: objects that are malformed, or made to harm a client.
//! (git-fsck(1), "FSCK MESSAGES"; as there, warnings count as errors, and what is only informative does not)
//!
//! Pure functions of an object's bytes. Which object a tree's `.gitmodules` is, and whether it exists, is
//! [`super::connectivity`]'s to follow.

mod attributes;
mod header;
mod names;
mod submodules;
mod trees;

pub(super) use attributes::check as check_attributes;
pub(super) use header::{check_commit, check_tag};
pub(super) use submodules::check as check_submodules;
pub(super) use trees::{Special, check_tree};

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{id}: {text}")]
pub(crate) struct Problem {
    /// As in `fsck.<id>`.
    pub(crate) id: &'static str,
    text: &'static str,
}

impl Problem {
    pub(super) const fn new(id: &'static str, text: &'static str) -> Self {
        Self { id, text }
    }
}
