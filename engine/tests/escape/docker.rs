//! The same attempts in a container with Docker's defaults, for comparison.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::attempts::{ALONE, Outcome, SCRIPT, read, told};
use crate::outside::Outside;

/// In containers of `image`, with an init as in the sandboxes.
pub(crate) fn make(image: &str, outside: &Outside) -> Vec<Outcome> {
    let mut outcomes = read(&attempt(image, &told(outside, None).to_string()).1);
    for name in ALONE {
        let (spoke, said) = attempt(image, &told(outside, Some(name)).to_string());
        outcomes.extend(if spoke { read(&said) } else { vec![killed(name)] });
    }
    outcomes
}

/// Whether the container printed anything, and what. It is removed when it has said all, or has had a minute.
fn attempt(image: &str, told: &str) -> (bool, String) {
    let name = format!("airstrip-escape-{}", std::process::id());
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60", "docker", "run", "--rm", "--init", "--interactive", "--name", &name, image]);
    command.args(["python3", "-u", "-c", SCRIPT]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let _ = Command::new("docker").args(["rm", "--force", &name]).stderr(Stdio::null()).output();
    (!output.stdout.is_empty(), String::from_utf8(output.stdout).unwrap())
}

fn killed(name: &str) -> Outcome {
    Outcome { name: name.to_owned(), result: "denied".to_owned(), seen: "killed".to_owned() }
}
