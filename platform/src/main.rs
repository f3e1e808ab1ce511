//! The binary `airstrip`. Everything is in the library; see its `cli`.

fn main() -> std::process::ExitCode {
    // The same program runs as an instance's shim, as the built-in buildpacks, and inside instances for file transfers:
    // all that must come before any thread.
    engine::native::run_if_child();
    buildpacks::run_if_buildpack();
    gitd::sftp::run_if_server();
    platform::cli::main()
}
