//! What building costs beside the same done by hand in the same run: `cargo bench -p platform --bench builds`.
//!
//! What each figure is stands in docs/BENCHMARKS.md. The package index must be reachable.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a measurement fails by panicking, and says why")]
#![expect(clippy::print_stdout, reason = "the figures are the output")]
#![expect(unreachable_pub, reason = "nothing outside this program uses it")]

#[expect(dead_code, unused_imports, reason = "the stories use all of it")]
mod harness;

#[path = "bench/locked.rs"]
mod locked;
#[path = "bench/machine.rs"]
mod machine;
#[path = "bench/many_files.rs"]
mod many_files;
#[path = "bench/measured.rs"]
#[expect(dead_code, reason = "the bench of deploys uses all of it")]
mod measured;
#[path = "bench/receipt.rs"]
#[expect(dead_code, reason = "the bench of deploys uses all of it")]
mod receipt;
#[path = "bench/request.rs"]
#[expect(dead_code, reason = "the bench of deploys uses all of it")]
mod request;
#[path = "bench/times.rs"]
mod times;
#[path = "bench/tools.rs"]
#[expect(dead_code, reason = "the bench of deploys uses all of it")]
mod tools;

fn main() {
    engine::native::run_if_child();
    println!("{}", machine::describe());
    let (python, uv) = (tools::Python::find(), tools::Uv::find());
    let mut measured = locked::measure(&python, &uv);
    measured.push(locked::disk(&python, &uv));
    measured.push(many_files::measure());
    println!("\nload at the end {}\n\n{}", machine::load(), measured::table(&measured));
}
