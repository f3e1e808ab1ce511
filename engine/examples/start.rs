//! How much longer a program takes to start in a sandbox than without one.
//!
//!     cargo run --release -p engine --example start [ROUNDS]
//!
//! Both kinds of start take turns in the same run, so that other load on the machine falls on both. A start counts from
//! the call until the program (`/bin/true` for a one-off, `sleep` for an instance) has been executed. Also printed: the
//! memory of an instance's shim and first process, and the time of joining it.
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::error::Error;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use engine::native::Native;
use engine::{Command, Engine, InstanceId, Spec};

fn main() -> Result<(), Box<dyn Error>> {
    engine::native::run_if_child();
    let rounds = std::env::args().nth(1).map_or(Ok(100), |word| word.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(rounds))
}

async fn measure(rounds: usize) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Native::new(dir.path().join("run"))?;
    let id = InstanceId::new("bench")?;
    let (mut plain, mut sandboxed, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    engine.launch(&id, &spec(&["sleep", "1000"]), "").await?;
    for _ in 0..rounds {
        plain.push(unsandboxed().await?);
        let one_off = InstanceId::new("one-off")?;
        let begin = Instant::now();
        let process = engine.attach(&one_off, &spec(&["true"]), None).await?;
        sandboxed.push(begin.elapsed());
        process.control.wait().await?;
        let begin = Instant::now();
        let process = engine.exec(&id, &spec(&["true"]).command, None).await?;
        joined.push(begin.elapsed());
        process.control.wait().await?;
    }
    let base = row("unsandboxed", &mut plain, None);
    row("sandboxed", &mut sandboxed, Some(base));
    row("joined", &mut joined, Some(base));
    let pid = engine.list().await?.first().and_then(|one| one.pid).ok_or("not running")?;
    let parent = parent(pid)?;
    println!("memory of shim and first process: {} + {} kB PSS", pss(parent), pss(pid));
    engine.stop(&id, Duration::ZERO).await?;
    engine.remove(&id).await?;
    Ok(())
}

async fn unsandboxed() -> Result<Duration, Box<dyn Error>> {
    let begin = Instant::now();
    let mut child =
        tokio::process::Command::new("true").env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).spawn()?;
    let took = begin.elapsed();
    child.wait().await?;
    Ok(took)
}

fn spec(argv: &[&str]) -> Spec {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    let env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    Spec {
        hostname: "bench".to_owned(),
        host_uid: 210_000,
        mounts: Vec::new(),
        symlinks: Vec::new(),
        command: Command { argv, env, cwd: "/".into() },
        log: None,
        limits: engine::Limits::default(),
        egress: engine::Egress::default(),
        egress_exceptions: Vec::new(),
    }
}

/// Prints minimum, median and ninth decile; gives the median.
fn row(name: &str, times: &mut [Duration], base: Option<Duration>) -> Duration {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 10];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let ratio = base.map(|base| format!("  {:.1} times, {:+.2} ms", ms(at(5)) / ms(base), ms(at(5)) - ms(base)));
    println!(
        "{name:12} min {:6.2}  median {:6.2}  p90 {:6.2} ms{}",
        ms(at(0)),
        ms(at(5)),
        ms(at(9)),
        ratio.unwrap_or_default()
    );
    at(5)
}

fn parent(pid: u32) -> Result<u32, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).ok_or("no PPid")?;
    Ok(line.trim().parse()?)
}

/// Memory in kilobytes, shared pages divided among those who share them. Root may ask this of processes that hide.
fn pss(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    let line = text.ok().and_then(|text| text.lines().find_map(|line| line.strip_prefix("Pss:").map(str::to_owned)));
    line.map_or_else(|| "?".to_owned(), |line| line.trim().trim_end_matches(" kB").to_owned())
}
