//! Objects that git would not make, but that somebody might: whether they are refused, and with which word.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::Pair;
use crate::harness::{PATIENCE, printed, run};

const A: &str = "A <a@example.org> 1 +0000";

/// Writes an object as it is; its id.
async fn write(pair: &Pair, kind: &str, content: &[u8]) -> String {
    let mut command = pair.world.git(&pair.work);
    command.args(["hash-object", "-t", kind, "-w", "--literally", "--stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(content).await.unwrap();
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Pushes an object behind a tag; the refusal of each server, by fsck's word.
async fn refusals(pair: &Pair, number: usize, id: &str) -> [Option<String>; 2] {
    let mut refusals = Vec::new();
    // The client itself would look into a commit or a tag: the ref is made as a file.
    let name = format!("refs/tags/t{number}");
    std::fs::write(pair.work.join(".git").join(&name), format!("{id}\n")).unwrap();
    for url in pair.urls() {
        let finished = run(pair.world.git(&pair.work).args(["push", &url, &name])).await;
        let text = printed(&finished);
        let word = text.lines().find_map(|line| line.split("error: object ").nth(1)?.split(": ").nth(1));
        assert_eq!(finished.status.success(), !text.contains("unpacker error"), "{text}");
        refusals.push((!finished.status.success()).then(|| word.unwrap_or("?").to_owned()));
    }
    std::fs::remove_file(pair.work.join(".git").join(&name)).unwrap();
    refusals.try_into().unwrap()
}

fn entry(mode: &str, name: &str, id: &str) -> Vec<u8> {
    let bytes = (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap());
    [mode.as_bytes(), b" ", name.as_bytes(), b"\0"].concat().into_iter().chain(bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn trees() {
    let pair = Pair::new().await;
    let blob = write(&pair, "blob", b"x\n").await;
    let empty = write(&pair, "tree", b"").await;
    let long = "x".repeat(4097);
    let names = [".", "..", ".git", ".GIT", "git~1", ".g\u{200c}it", ".git ", ".git::$DATA", "a\\.git", "ok", &long];
    let mut contents: Vec<Vec<u8>> = names.iter().map(|name| entry("100644", name, &blob)).collect();
    contents.extend([
        entry("100664", "a", &blob),
        entry("100755", "a", &blob),
        entry("100600", "a", &blob),
        entry("0100644", "a", &blob),
        entry("040000", "a", &empty),
        entry("120000", ".gitmodules", &blob),
        entry("120000", ".gitattributes", &blob),
        entry("100644", "a", "0000000000000000000000000000000000000000"),
        [entry("100644", "a", &blob), entry("100644", "a", &blob)].concat(),
        [entry("100644", "b", &blob), entry("100644", "a", &blob)].concat(),
        [entry("100644", "a", &blob), entry("100644", "a.c", &blob), entry("40000", "a", &empty)].concat(),
        [entry("40000", "a", &empty), entry("100644", "a.c", &blob)].concat(),
        [entry("100644", "a.c", &blob), entry("40000", "a", &empty)].concat(),
    ]);
    for (number, content) in contents.iter().enumerate() {
        let id = write(&pair, "tree", content).await;
        let [here, there] = refusals(&pair, number, &id).await;
        assert_eq!(here, there, "{}", String::from_utf8_lossy(content));
    }
    pair.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_and_tags() {
    let pair = Pair::new().await;
    let tree = write(&pair, "tree", b"").await;
    let commit = write(&pair, "commit", format!("tree {tree}\nauthor {A}\ncommitter {A}\n\nx\n").as_bytes()).await;
    let with = |author: &str| format!("tree {tree}\nauthor {author}\ncommitter {A}\n\nx\n");
    let mut number = 0;
    for (kind, content) in [
        ("commit", with(A)),
        ("commit", with("A <a@b> 01 +0000")),
        ("commit", with("A <a@b> 18446744073709551615 +0000")),
        ("commit", with("A <a@b> 1 +000")),
        ("commit", with("A <a@b>1 +0000")),
        ("commit", with("A <a@b 1 +0000")),
        ("commit", with("A<a@b> 1 +0000")),
        ("commit", with("<a@b> 1 +0000")),
        ("commit", with("A> <a@b> 1 +0000")),
        ("commit", with(&format!("{A}\nauthor {A}"))),
        ("commit", format!("tree {tree}\nauthor {A}\ncommitter {A}\n\nx\0y\n")),
        ("commit", format!("tree {tree}\nauthor {A}\ncommitter {A}")),
        ("tag", format!("object {commit}\ntype commit\ntag x\ntagger {A}\n\nx\n")),
        ("tag", format!("object {commit}\ntype commit\ntag x\n\nx\n")),
        ("tag", format!("object {commit}\ntype commit\ntag x y\ntagger {A}\n\nx\n")),
        ("tag", format!("object {commit}\ntype commit\ntag x\ntagger A 1\n\nx\n")),
    ] {
        number += 1;
        let id = write(&pair, kind, content.as_bytes()).await;
        let [here, there] = refusals(&pair, number, &id).await;
        assert_eq!(here, there, "{content:?}");
    }
    pair.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_git_reads() {
    let pair = Pair::new().await;
    let line = "x".repeat(3000);
    let mut number = 0;
    for (name, content) in [
        (".gitmodules", "[submodule \"a\"]\n\tpath = a\n\turl = ../a\n"),
        (".gitmodules", "[submodule \"../../a\"]\n\tpath = a\n\turl = ../a\n"),
        (".GITMODULES", "[submodule \"a\"]\n\tpath = a\n\turl = -a\n"),
        ("gitmod~1", "[submodule \"a\"]\n\tpath = -a\n"),
        (".gitmodules", "[submodule \"a\"]\n\tupdate = !a\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = https://a/%0a\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = \"../../..:b\"\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = \"../../../:b\"\n"),
        (".gitmodules", "[submodule \"a\"]\n\turl = https://:b/\n"),
        (".gitattributes", "* text\n"),
        (".gitattributes", &line),
    ] {
        number += 1;
        let blob = write(&pair, "blob", content.as_bytes()).await;
        let tree = write(&pair, "tree", &entry("100644", name, &blob)).await;
        let [here, there] = refusals(&pair, number, &tree).await;
        assert_eq!(here, there, "{name} {content:?}");
    }
    pair.world.stop().await;
}
