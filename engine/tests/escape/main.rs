//! The escape suite: attempts to get out of a sandbox, or to hurt what is outside, made from inside one.
//!
//! Each attempt has a name in `attempts.py` and must be denied. Started as root, this binary makes them in a sandbox of root's
//! engine, then in one of an ordinary user's (a copy of itself as `nobody`). With `--docker IMAGE` they are also made in a
//! container with Docker's defaults, for comparison only; the image must have `python3`. With `--table` the outcomes are printed
//! as the table of `docs/SECURITY.md`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "clippy knows tests by `#[test]`, and these have a `main` of their own"
)]

mod attempts;
mod docker;
#[path = "../suite/nobody.rs"]
#[expect(dead_code, reason = "the engine's other suites use the rest")]
mod nobody;
mod ordinary_user;
mod outside;
mod report;
#[path = "../suite/world.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "the engine's other suites use the rest")]
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use attempts::Outcome;
use outside::Outside;
use report::Column;
use world::{Kind, World};

/// Prints the outcomes for the process that started this one.
const JSON: &str = "--json";

fn main() -> ExitCode {
    engine::native::run_if_child();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let image = arguments.iter().skip_while(|word| *word != "--docker").nth(1);
    let Some((mut columns, nothing_left)) = told(image.map(String::as_str)) else { return ExitCode::SUCCESS };
    if arguments.iter().any(|word| word == JSON) {
        report::print_json(&columns[0]);
        return if nothing_left { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if world::root()
        && let Some(column) = ordinary_user::column()
    {
        columns.insert(1, column);
    }
    let denied =
        columns.iter().filter(|column| column.is_ours).map(Column::all_denied).fold(true, |all, one| all & one);
    if arguments.iter().any(|word| word == "--table") {
        report::print_table(&columns);
    }
    if nothing_left & denied { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the attempts here, and in containers if there is an image; says whether nothing was left behind.
fn told(image: Option<&str>) -> Option<(Vec<Column>, bool)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::new(Kind::Native)).map_err(|reason| println!("skipped: {reason}")).ok()?;
    let columns = runtime.block_on(async {
        let outside = Outside::prepare(&world).await;
        let name = if world::root() { "airstrip as root" } else { "airstrip as an ordinary user" };
        let mut columns = vec![Column::new(name, true, in_sandboxes(&world, &outside).await)];
        columns.extend(
            image.map(|image| Column::new("Docker's defaults, `--init`", false, docker::make(image, &outside))),
        );
        columns
    });
    let left = runtime.block_on(world.try_case(|_| Box::pin(async {})));
    Some((columns, left))
}

/// Makes every attempt, those that end the sandbox last and alone, and sees that the neighbour still answers.
async fn in_sandboxes(world: &Arc<World>, outside: &Outside) -> Vec<Outcome> {
    let mut outcomes = attempts::make(world, outside, None).await;
    outside.neighbour_answers(world).await;
    outcomes.push(attempts::flood_the_log(world, outside).await);
    for name in attempts::ALONE {
        // Those take memory, and without a bound it is the machine's.
        match world.engine.abilities().memory {
            Ok(()) => outcomes.extend(attempts::make(world, outside, Some(name)).await),
            Err(why) => outcomes.push(attempts::not_made(name, &why)),
        }
        outside.neighbour_answers(world).await;
    }
    outcomes
}
