//! The engine that needs nothing but the kernel.

/// Runs as a shim, an init or a joining program if this process was started as one by [`Native`]; otherwise returns.
/// Call it first thing in `main`, before any thread exists.
pub fn run_if_child() {
    todo!()
}

/// See the module.
#[derive(Debug)]
pub struct Native {}
