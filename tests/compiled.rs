//! Apps in compiled languages, by the toolchains of this machine.

use std::process::Command;

use crate::harness::{App, Push, Server, skipped};

const RUST: &str = r#"use std::io::{Read, Write};

fn main() {
    let port = std::env::var("PORT").unwrap();
    let listener = std::net::TcpListener::bind(format!("0.0.0.0:{port}")).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let body = itoa::Buffer::new().format(42).to_owned();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }
}
"#;

const GO: &str = r#"package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "by go") })
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
"#;

#[test]
fn a_rust_app_is_compiled_and_served() {
    if Command::new("cargo").arg("--version").output().is_err() {
        return skipped("cargo is not installed");
    }
    let server = Server::start();
    let manifest =
        "[package]\nname = \"answer\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nitoa = \"1\"\n";
    let app = App::new(server.client(), "answer", &[("Cargo.toml", manifest), ("src/main.rs", RUST)]);
    let first = app.push().ok();
    let compiled = |push: &Push| push.remote.iter().any(|line| line.contains("Compiling itoa"));
    assert!(compiled(&first), "{}", first.reply);
    assert_eq!(server.http.get("answer.localhost", "/").ok().body, "42");

    let second = app.push_file("src/main.rs", RUST.replace("42", "43")).ok();
    assert!(!compiled(&second), "{}", second.reply);
    assert_eq!(server.http.get("answer.localhost", "/").ok().body, "43");
}

#[test]
fn a_go_app_is_compiled_and_served() {
    if Command::new("go").arg("version").output().is_err() {
        return skipped("go is not installed");
    }
    let server = Server::start();
    let app = App::new(server.client(), "gopher", &[("go.mod", "module gopher\n\ngo 1.18\n"), ("main.go", GO)]);
    app.push().ok();
    assert_eq!(server.http.get("gopher.localhost", "/").ok().body, "by go");
}
