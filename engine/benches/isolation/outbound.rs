//! Connections to another machine: through the relay, and by other ways, each by the same program.
//!
//! The other machine is a thread in a network of its own (`outside`), so only root can measure this.

use std::io;
use std::process::{Command, Stdio};

use engine::{Engine, Exit, InstanceId, Streams};
use tokio::io::AsyncReadExt;

use crate::measured::digits;
use crate::outside::{self, INTERNET};
use crate::pasta;
use crate::program::{Figures, VISIT};
use crate::sandboxes::{PROGRAM, Sandboxes};
use crate::times::Times;
use crate::veth::Veth;

const TURNS: usize = 5;

/// All ways take turns. Gives a table; `None`, with the reason printed, if there is no other machine.
pub(crate) async fn measure(sandboxes: &Sandboxes) -> Option<String> {
    if !outside::there() {
        return None;
    }
    forget_closed_connections().unwrap();
    let mut ways = ways();
    for _ in 0..TURNS {
        let mut turn = Vec::new();
        for (way, mut figures) in ways {
            match way.visit(sandboxes).await {
                Ok(seen) => {
                    figures.push(seen);
                    turn.push((way, figures));
                }
                Err(error) => println!("not measured: {}: {error}", way.name()),
            }
        }
        ways = turn;
    }
    Some(table(&ways))
}

/// For the network of the calling thread, which is one of this program's own. Otherwise the search for a port that no closed
/// connection keeps would soon take longer than anything else.
pub(crate) fn forget_closed_connections() -> io::Result<()> {
    std::fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0")
}

/// Those that this machine has.
fn ways() -> Vec<(Way, Vec<Figures>)> {
    let mut ways = vec![Way::Plain, Way::Sandbox];
    match Veth::new() {
        Ok(veth) => ways.push(Way::Veth(veth)),
        Err(error) => println!("not measured: {}: {error}", Way::VETH),
    }
    match pasta::find() {
        Ok(()) => ways.push(Way::Pasta),
        Err(error) => println!("not measured: {}: {error}", Way::PASTA),
    }
    ways.into_iter().map(|way| (way, Vec::new())).collect()
}

enum Way {
    Plain,
    Sandbox,
    Veth(Veth),
    Pasta,
}

impl Way {
    const VETH: &str = "veth and nft";
    const PASTA: &str = "pasta";

    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "no sandbox",
            Self::Sandbox => "airstrip",
            Self::Veth(_) => Self::VETH,
            Self::Pasta => Self::PASTA,
        }
    }

    async fn visit(&self, sandboxes: &Sandboxes) -> Result<Figures, String> {
        let program = sandboxes.program();
        let mut plain = Command::new(&program);
        plain.args(VISIT_INTERNET).env_clear().stdin(Stdio::null());
        let printed = match self {
            Self::Plain => said(&mut plain)?,
            Self::Sandbox => sandboxed(sandboxes).await?,
            Self::Veth(veth) => veth.inside(plain, said)?,
            Self::Pasta => said(&mut pasta::command(&program, &VISIT_INTERNET))?,
        };
        Figures::parse(&printed).ok_or(printed)
    }
}

const VISIT_INTERNET: [&str; 2] = [VISIT, INTERNET];

async fn sandboxed(sandboxes: &Sandboxes) -> Result<String, String> {
    let id = InstanceId::new("outbound").unwrap();
    let spec = sandboxes.spec(&[&[PROGRAM], &VISIT_INTERNET[..]].concat());
    let mut process = sandboxes.engine.attach(&id, &spec, None).await.unwrap();
    let Some(Streams::Pipes { mut stdout, mut stderr, .. }) = process.streams.take() else { panic!("no pipes") };
    let (mut printed, mut complaint) = (String::new(), String::new());
    let (read, complained) = tokio::join!(stdout.read_to_string(&mut printed), stderr.read_to_string(&mut complaint));
    read.and(complained).unwrap();
    let exit = process.control.wait().await.unwrap();
    if exit == Exit::Status(0) { Ok(printed) } else { Err(complaint) }
}

/// What a program prints; or what it complains about, if it fails.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// A line for each figure, a column for each way; in brackets, how many times the figure without a sandbox.
fn table(ways: &[(Way, Vec<Figures>)]) -> String {
    let names: Vec<&str> = ways.iter().map(|(way, _)| way.name()).collect();
    let head = format!("| outbound | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    (0..Figures::NAMES.len()).fold(head, |table, number| format!("{table}{}\n", line(ways, number)))
}

fn line(ways: &[(Way, Vec<Figures>)], number: usize) -> String {
    let median =
        |figures: &[Figures]| Times::new("", figures.iter().map(|figures| figures.0[number]).collect()).median();
    let medians: Vec<f64> = ways.iter().map(|(_, figures)| median(figures)).collect();
    let cells: Vec<String> = medians.iter().map(|one| format!("{} ({:.2})", digits(*one), one / medians[0])).collect();
    let (name, unit) = Figures::NAMES[number];
    format!("| {name}, {unit} | {} |", cells.join(" | "))
}
