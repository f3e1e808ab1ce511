//! Places where the tests of debug builds end the process, as a power cut would. Nothing of it is in a release build.

/// Ends the process if it was started to end here: `GITD_CRASH_AT` is the point's name.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;

    static AT: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
    if AT.get_or_init(|| std::env::var_os("GITD_CRASH_AT")).as_ref().is_some_and(|at| at == name) {
        let _ended = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_: &str) {}
