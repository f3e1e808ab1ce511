//! An app moves into the machine's Docker engine and back.

use serde_json::Value;

use crate::harness::{App, DockerEngine, PATIENCE, Server, wait_until};

fn instance(server: &Server) -> String {
    server.http.get("blog.localhost", "/instance").ok().body
}

fn engine(server: &Server) -> Value {
    server.client().airstrip("apps:info blog --json").ok().json()["engine"].clone()
}

/// A server that knows this Docker engine, and on which `blog` serves "one".
fn with_blog(docker_host: &str) -> Server {
    let server = Server::start_with_variables(&[("DOCKER_HOST", docker_host)]);
    App::probe(server.client(), "blog").push().ok();
    server
}

/// Only Docker's instances have this.
const IN_DOCKER: &str = "run blog test -e /.airstrip/init";

#[test]
fn an_app_moves_into_docker_and_back() {
    let Some(docker) = DockerEngine::start() else { return };
    let mut server = with_blog(&docker.host());
    let native = instance(&server);
    server.http.get("blog.localhost", "/write?name=kept&text=treasure").ok();
    assert_ne!(server.client().airstrip(IN_DOCKER).status, 0);

    server.client().airstrip("engine:set blog docker").ok();
    let moved = instance(&server);
    assert_ne!(moved, native);
    assert_eq!(engine(&server), "docker");
    assert_eq!(server.http.get("blog.localhost", "/read?name=kept").ok().body, "treasure");
    server.client().airstrip(IN_DOCKER).ok();
    assert_eq!(
        server.client().ssh("blog", &["test -e /.airstrip/init && echo $AIRSTRIP_PROCESS"]).ok().line(),
        "web.1"
    );
    server.client().airstrip("engine:set blog docker").ok();
    assert_eq!(instance(&server), moved, "nothing changes, nothing is restarted");

    server.crash();
    server.start_again();
    assert_eq!(instance(&server), moved, "it is taken up again");
    App::opened(server.client(), "blog").push_file("message", "two").ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
    server.client().airstrip(IN_DOCKER).ok();

    server.client().airstrip("engine:set blog native").ok();
    assert_eq!(engine(&server), "native");
    assert_eq!(server.http.get("blog.localhost", "/read?name=kept").ok().body, "treasure");
    assert_ne!(server.client().airstrip(IN_DOCKER).status, 0);
}

#[test]
fn without_a_docker_engine_nothing_is_changed() {
    let server = with_blog("unix:///nonexistent/docker.sock");
    let before = instance(&server);
    let refused = server.client().airstrip("engine:set blog docker");
    refused.fails(1, &[" !     ", "Docker", "/nonexistent/docker.sock"]);
    assert_eq!((engine(&server), instance(&server)), ("native".into(), before));
    server.client().airstrip("engine:set blog podman").fails(2, &["podman", "native", "docker"]);
    server.client().airstrip("apps:create shop").ok();
    assert_eq!(server.client().airstrip("engine:set shop docker").status, 1);
    let deployer = server.client_with_key("deployer", &["--app", "blog", "--role", "deploy"]);
    deployer.airstrip("engine:set blog native").fails(1, &["may not"]);
}

#[test]
fn an_app_that_cannot_start_in_docker_stays_where_it_is() {
    let Some(docker) = DockerEngine::start() else { return };
    let server = with_blog(&docker.host());
    let app = App::opened(server.client(), "blog");
    app.write("Procfile", "web: test -e /.airstrip/init || exec python -u server.py\n");
    app.commit("Refuse Docker");
    app.push().ok();
    let before = instance(&server);
    server.client().airstrip("engine:set blog docker").fails(1, &[" !     ", "web.1"]);
    assert_eq!((engine(&server), instance(&server)), ("native".into(), before));
}

#[test]
fn instances_in_docker_outlast_both_daemons() {
    let Some(mut docker) = DockerEngine::start() else { return };
    let mut server = with_blog(&docker.host());
    server.client().airstrip("engine:set blog docker").ok();
    let before = instance(&server);
    docker.stop();
    assert_eq!(instance(&server), before);
    server.crash();
    server.start_again();
    assert_eq!(instance(&server), before, "it is taken up without Docker");
    server.client().airstrip("run blog true").fails(1, &["Docker"]);
    server.client().airstrip("restart blog").fails(1, &["Docker"]);
    assert_eq!(instance(&server), before);
    docker.start_again();
    server.client().airstrip("restart blog").ok();
    assert_ne!(instance(&server), before);
    wait_until("one instance is left", PATIENCE, || {
        server.client().airstrip("ps blog --json").ok().json().as_array().unwrap().len() == 1
            && server.processes().iter().filter(|found| found.command == "python -u server.py").count() == 1
    });
}
