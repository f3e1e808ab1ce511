//! How much longer a program takes to start in a sandbox than without one.
//!
//!     cargo run --release -p engine --example start [ROUNDS]
//!
//! With a Docker engine on this machine (`DOCKER_HOST`): the same behind airstrip's `docker`, and by `docker run` if that is
//! there, in a container of the same system.
//!
//! All kinds of start take turns in the same run, so that other load on the machine falls on all. A start counts from
//! the call until the program (`/bin/true` for a one-off, `sleep` for an instance) has been executed. Also printed: the
//! memory of an instance's shim and first process, and the time of joining it.
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use engine::docker::Docker;
use engine::native::Native;
use engine::{Command, Engine, InstanceId, Limits, Spec};

fn main() -> Result<(), Box<dyn Error>> {
    engine::native::run_if_child();
    let rounds = std::env::args().nth(1).map_or(Ok(100), |word| word.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(rounds))
}

async fn measure(rounds: usize) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let native = Native::new(dir.path().join("run"))?;
    let docker = Docker::open(dir.path().join("docker"), None).await;
    if let Err(error) = &docker {
        println!("without Docker: {error}");
    }
    let mut engines: Vec<(&str, Box<dyn Engine>)> = vec![("native", Box::new(native))];
    engines.extend(docker.ok().map(|docker| ("docker", Box::new(docker) as Box<dyn Engine>)));
    let id = InstanceId::new("bench")?;
    for (_, engine) in &engines {
        engine.launch(&id, &spec(&["sleep", "1000"]), "").await?;
    }
    let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for _ in 0..rounds {
        times.entry(PLAIN.to_owned()).or_default().push(unsandboxed().await?);
        for (name, engine) in &engines {
            let bounded = one_off(
                engine.as_ref(),
                Limits { memory: Some(1 << 29), cpu: Some(1000), pids: Some(512), ..Limits::default() },
            );
            times.entry(format!("{name}: one-off, bounded")).or_default().push(bounded.await?);
            times
                .entry(format!("{name}: one-off"))
                .or_default()
                .push(one_off(engine.as_ref(), Limits::default()).await?);
            times.entry(format!("{name}: joined")).or_default().push(joined(engine.as_ref(), &id).await?);
        }
        if engines.len() > 1
            && let Some(ran) = docker_run().await?
        {
            times.entry("docker run, ended".to_owned()).or_default().push(ran);
        }
    }
    let base = row(PLAIN, &mut times.remove(PLAIN).unwrap_or_default(), None);
    for (name, mut times) in times {
        row(&name, &mut times, Some(base));
    }
    let pid = engines[0].1.list().await?.first().and_then(|one| one.pid).ok_or("not running")?;
    let parent = parent(pid)?;
    println!("memory of native's shim and first process: {} + {} kB PSS", pss(parent), pss(pid));
    for (_, engine) in &engines {
        engine.stop(&id, Duration::ZERO).await?;
        engine.remove(&id).await?;
    }
    Ok(())
}

const PLAIN: &str = "unsandboxed";

/// How long a one-off took to start.
async fn one_off(engine: &dyn Engine, limits: Limits) -> Result<Duration, Box<dyn Error>> {
    let id = InstanceId::new("one-off")?;
    let begin = Instant::now();
    let process = engine.attach(&id, &Spec { limits, ..spec(&["true"]) }, None).await?;
    let started = begin.elapsed();
    process.control.wait().await?;
    Ok(started)
}

/// How long a program in the running instance took.
async fn joined(engine: &dyn Engine, id: &InstanceId) -> Result<Duration, Box<dyn Error>> {
    let begin = Instant::now();
    let process = engine.exec(id, &spec(&["true"]).command, None).await?;
    let joined = begin.elapsed();
    process.control.wait().await?;
    Ok(joined)
}

/// The client's whole run, as a user would time it; `None` without the client, or without the image.
async fn docker_run() -> Result<Option<Duration>, Box<dyn Error>> {
    let docker = |words: &[&str]| {
        let mut command = tokio::process::Command::new("docker");
        command.args(words).stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    let Ok(images) = docker(&["images", "-q", "airstrip-host"]).output().await else { return Ok(None) };
    let images = String::from_utf8(images.stdout)?;
    let Some(image) = images.lines().next() else { return Ok(None) };
    let mounts = ["-v", "/usr:/usr:ro", "-v", "/etc/ld.so.cache:/etc/ld.so.cache:ro"];
    let words = [&["run", "--rm", "--network", "none"], &mounts[..], &[image, "/usr/bin/true"]].concat();
    let begin = Instant::now();
    let status = docker(&words).status().await?;
    Ok(status.success().then(|| begin.elapsed()))
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
        internal: None,
    }
}

/// Prints minimum, median and ninth decile; gives the median.
fn row(name: &str, times: &mut [Duration], base: Option<Duration>) -> Duration {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 10];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let ratio = base.map(|base| format!("  {:.1} times, {:+.2} ms", ms(at(5)) / ms(base), ms(at(5)) - ms(base)));
    println!(
        "{name:24} min {:6.2}  median {:6.2}  p90 {:6.2} ms{}",
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
