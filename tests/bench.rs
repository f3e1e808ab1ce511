//! What a user waits for and pays, beside the same done by hand in the same run: `cargo bench -p platform --bench deploy`.
//!
//! What each figure is stands in docs/BENCHMARKS.md. The server is the real binary, as in the stories; only the start of a
//! sandbox is measured at the engine itself. A target that is missed is printed like one that is met.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a measurement fails by panicking, and says why")]
#![expect(clippy::print_stdout, reason = "the figures are the output")]
#![expect(unreachable_pub, reason = "nothing outside this program uses it")]

#[expect(dead_code, unused_imports, reason = "the stories use all of it")]
mod harness;

#[path = "bench/by_hand.rs"]
mod by_hand;
#[path = "bench/command.rs"]
mod command;
#[path = "bench/first_push.rs"]
mod first_push;
#[path = "bench/machine.rs"]
mod machine;
#[path = "bench/measured.rs"]
mod measured;
#[path = "bench/memory.rs"]
mod memory;
#[path = "bench/process.rs"]
#[expect(dead_code, reason = "the bench of idle instances uses all of it")]
mod process;
#[path = "bench/push.rs"]
mod push;
#[path = "bench/receipt.rs"]
#[expect(dead_code, reason = "the bench of builds uses all of it")]
mod receipt;
#[path = "bench/request.rs"]
mod request;
#[path = "bench/start.rs"]
mod start;
#[path = "bench/times.rs"]
mod times;
#[path = "bench/tools.rs"]
mod tools;

use harness::Server;
use measured::Measured;
use push::Hello;
use tools::{Python, Uv};

/// Those that are measured, and those that the memory is measured with.
const APPS: usize = 10;

fn main() {
    // The engine starts its shims from this very program.
    engine::native::run_if_child();
    println!("{}", machine::describe());
    let (python, uv) = (Python::find(), Uv::find());
    let mut measured = with_ten_apps(&python, &uv);
    measured.push(start::measure(&python));
    measured.push(first_push::measure(&python, &uv));
    println!("\nload at the end {}\n\n{}", machine::load(), measured::table(&measured));
}

/// What is measured at one server.
fn with_ten_apps(python: &Python, uv: &Uv) -> Vec<Measured> {
    let server = Server::start();
    let mut measured = vec![Hello::deploy(&server).measure(python, uv)];
    memory::deploy_others(&server, APPS - 1);
    measured.extend(command::measure(&server));
    measured.extend(memory::measure(&server, APPS));
    measured
}
