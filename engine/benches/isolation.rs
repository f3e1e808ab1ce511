//! What a sandbox costs, beside the same done without one and by others in the same run:
//! `cargo bench -p engine --bench isolation`.
//!
//! What each figure is stands in docs/BENCHMARKS.md. A target that is missed is printed like one that is met, and what this
//! machine cannot measure is printed as not measured, with the reason. Words on the command line choose parts: `start`,
//! `memory`, `join`, `inbound`, `outbound`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement fails by panicking, and says why")]
#![expect(clippy::print_stdout, reason = "the figures are the output")]

#[path = "isolation/docker_run.rs"]
mod docker_run;
#[path = "isolation/inbound.rs"]
mod inbound;
#[path = "isolation/join.rs"]
mod join;
#[path = "isolation/machine.rs"]
mod machine;
#[path = "isolation/measured.rs"]
mod measured;
#[path = "isolation/memory.rs"]
mod memory;
#[path = "isolation/outbound.rs"]
mod outbound;
#[path = "../tests/suite/outside.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod outside;
#[path = "isolation/pasta.rs"]
mod pasta;
#[path = "isolation/program.rs"]
mod program;
#[path = "isolation/sandboxes.rs"]
mod sandboxes;
#[path = "isolation/start.rs"]
mod start;
#[path = "isolation/times.rs"]
mod times;
#[path = "isolation/veth.rs"]
mod veth;

use sandboxes::Sandboxes;

fn main() {
    // The engine starts its shims, and the parts their programs, from this very program.
    engine::native::run_if_child();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if program::run_if_asked(&words) {
        return;
    }
    // Before there are other threads.
    outside::enter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&words));
}

async fn measure(words: &[String]) {
    println!("{}", machine::describe());
    let sandboxes = Sandboxes::new();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    let mut measured = Vec::new();
    if wanted("start") {
        measured.extend(start::measure(&sandboxes).await);
    }
    if wanted("memory") {
        measured.extend(memory::measure(&sandboxes).await);
    }
    if wanted("join") {
        measured.push(join::measure(&sandboxes).await);
    }
    if wanted("inbound") {
        measured.extend(inbound::measure(&sandboxes).await);
    }
    let outbound = if wanted("outbound") { outbound::measure(&sandboxes).await } else { None };
    println!("\nload at the end {}\n\n{}", machine::load(), measured::table(&measured));
    println!("{}", outbound.unwrap_or_default());
}
