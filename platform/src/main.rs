//! The binary `airstrip`. Everything is in the library; see its `cli`.

fn main() -> std::process::ExitCode {
    // The same program runs as an instance's shim, as the built-in buildpacks, and in sandboxes for file transfers,
    // archives, and in front of programs that need preparation: all that must come before any thread.
    engine::native::run_if_child();
    buildpacks::run_if_buildpack();
    builder::launcher::run_if_launcher();
    buildpacks::run_if_static_server();
    gitd::sftp::run_if_server();
    platform::data::run_if_archiver();
    platform::cli::main()
}
