//! Well-known projects as apps, from the package index: what their authors would push, as they would.
//!
//! Three of them are told always; the others, which fetch hundreds of megabytes, with `AIRSTRIP_TEST_PROJECTS=all`. Trac has a
//! story of its own.

use crate::harness::{App, Client, PATIENCE, Page, Push, Server, skipped, wait_until};

/// Whether the longer stories are to be told.
fn all() -> bool {
    let all = std::env::var("AIRSTRIP_TEST_PROJECTS").is_ok_and(|value| value == "all");
    if !all {
        skipped("AIRSTRIP_TEST_PROJECTS is not `all`");
    }
    all
}

fn pushed<'c>(client: &'c Client, name: &str) -> (App<'c>, Push) {
    let app = App::copy_of(client, name, &format!("tests/apps/{name}"));
    let push = app.push().ok();
    (app, push)
}

fn page(server: &Server, name: &str, path: &str) -> Page {
    server.http.get(&format!("{name}.localhost"), path).ok()
}

#[test]
fn django_with_a_migration() {
    let server = Server::start();
    let client = server.client();
    client.airstrip("apps:create django").ok();
    client.airstrip("config:set django NOTES_SECRET_KEY=secret").ok();
    let (app, push) = pushed(client, "django");
    push.reply.says(&[
        "NOTES_SECRET_KEY is not set in builds",
        "static files copied",
        "Applying notes.0001_initial... OK",
    ]);
    assert_eq!(page(&server, "django", "/").body, "1 notes");
    assert!(page(&server, "django", "/static/admin/css/base.css").body.contains("body"));
    let second = app.push_file("note", "a change").ok();
    second.reply.says(&["Using the environment of the previous release", "static files copied"]);
    assert_eq!(page(&server, "django", "/").body, "2 notes", "the database outlives the release");
}

#[test]
fn fastapi_on_uvicorn() {
    let server = Server::start();
    let (_, push) = pushed(server.client(), "fastapi");
    push.reply.says(&["Serving main:app of main.py with uvicorn"]);
    assert_eq!(page(&server, "fastapi", "/items/21").body, "{\"twice\":42}");
}

#[test]
fn an_extension_in_c_is_compiled_with_each_change() {
    let server = Server::start();
    let (app, _) = pushed(server.client(), "extension");
    assert_eq!(page(&server, "extension", "/").body, "42");
    let source = std::fs::read_to_string(app.directory.join("fast.c")).unwrap();
    app.push_file("fast.c", source.replace("PyNumber_Add(number, number)", "PyNumber_Negative(number)")).ok();
    assert_eq!(page(&server, "extension", "/").body, "-21");
}

#[test]
fn flask_with_gevent() {
    if all() {
        let server = Server::start();
        pushed(server.client(), "gevent");
        assert_eq!(page(&server, "gevent", "/").body, "patched");
    }
}

#[test]
fn dash() {
    if all() {
        let server = Server::start();
        let (_, push) = pushed(server.client(), "dash");
        push.reply.says(&["Serving app:server of app.py with gunicorn"]);
        assert!(page(&server, "dash", "/_dash-layout").body.contains("Hello from Dash"));
    }
}

#[test]
fn streamlit() {
    if all() {
        let server = Server::start();
        let (_, push) = pushed(server.client(), "streamlit");
        push.reply.says(&["Serving app.py with streamlit"]);
        assert_eq!(page(&server, "streamlit", "/_stcore/health").body, "ok");
    }
}

#[test]
fn wagtail() {
    if all() {
        let server = Server::start();
        pushed(server.client(), "wagtail");
        assert!(page(&server, "wagtail", "/").body.contains("Welcome to your new Wagtail site!"));
        assert!(page(&server, "wagtail", "/admin/login/").body.contains("Sign in - Wagtail"));
    }
}

#[test]
fn jupyterlab() {
    if all() {
        let server = Server::start();
        let client = server.client();
        client.airstrip("apps:create jupyterlab").ok();
        client.airstrip("config:set jupyterlab TOKEN=open-sesame").ok();
        pushed(client, "jupyterlab");
        assert!(page(&server, "jupyterlab", "/lab?token=open-sesame").body.contains("<title>JupyterLab</title>"));
        assert_eq!(server.http.get("jupyterlab.localhost", "/api/contents").status, 403);
    }
}

#[test]
fn a_celery_worker() {
    if all() {
        let server = Server::start();
        let client = server.client();
        pushed(client, "celery");
        client.airstrip("ps:scale celery worker=1").ok();
        let id = page(&server, "celery", "/ask/21").body;
        let answer = || page(&server, "celery", &format!("/answer/{id}")).body;
        wait_until("the worker answers", PATIENCE, || answer() == "42");
    }
}

#[test]
fn a_scrapy_spider_as_a_one_off() {
    if all() {
        let server = Server::start();
        let client = server.client();
        pushed(client, "scrapy");
        let run = client.airstrip("run scrapy scrapy runspider spider.py --nolog -o -:jsonlines").ok();
        assert_eq!(run.out().lines().collect::<Vec<_>>(), ["{\"text\": \"First\"}", "{\"text\": \"Second\"}"], "{run}");
    }
}
