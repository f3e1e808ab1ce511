//! What `ssh-audit` (from PyPI) says of the algorithms.

use tokio::process::Command;

use crate::harness::{World, printed, run};

#[tokio::test(flavor = "multi_thread")]
async fn ssh_audit_reports_no_failure() {
    let program = std::env::var("SSH_AUDIT").unwrap_or_else(|_| "ssh-audit".to_owned());
    if Command::new(&program).arg("--help").output().await.is_err() {
        eprintln!("skipped: there is no {program} here (pip install ssh-audit, or SSH_AUDIT=PATH)");
        return;
    }
    let world = World::new().await;
    let port = world.port().to_string();
    let arguments = ["--level=warn", "--no-colors", "--skip-rate-test", "-p", &port, "127.0.0.1"];
    let finished = run(Command::new(&program).args(arguments)).await;
    let said = printed(&finished);
    assert!(said.contains("airstrip") || !said.contains("[exception]"), "{said}");
    let unexpected: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("[fail]") || line.contains("[warn]"))
        .filter(|line| !line.contains("post-quantum"))
        .collect();
    assert!(unexpected.is_empty(), "{said}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropbear_finds_algorithms_that_it_knows() {
    let world = World::new().await;
    let key = world.path("dropbear").display().to_string();
    let made = Command::new("dropbearkey").args(["-t", "ed25519", "-f", &key]).output().await;
    let Ok(made) = made else {
        eprintln!("skipped: there is no dropbearkey here");
        return;
    };
    let public = printed(&made).lines().find(|line| line.starts_with("ssh-ed25519")).unwrap().to_owned();
    std::fs::write(world.path("dropbear.pub"), public).unwrap();
    world.allow("dropbear");
    let port = world.port().to_string();
    let mut client = Command::new("dbclient");
    client.args(["-y", "-y", "-i", &key, "-p", &port, "airstrip@127.0.0.1", "exit 3"]);
    let finished = run(client.stdin(std::process::Stdio::null())).await;
    assert_eq!(finished.status.code(), Some(3), "{}", printed(&finished));
    world.stop().await;
}
