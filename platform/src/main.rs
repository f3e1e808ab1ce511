//! The binary `airstrip`. Everything is in the library; see its `cli`.

fn main() -> std::process::ExitCode {
    // The same program runs as an instance's shim and as the built-in buildpacks; both must come before any thread.
    engine::native::run_if_child();
    buildpacks::run_if_buildpack();
    platform::cli::main()
}
