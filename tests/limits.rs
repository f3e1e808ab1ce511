//! How much of the machine an app's instances may use.

use serde_json::{Value, json};

use crate::harness::{App, Client, PATIENCE, Server, skipped, wait_until};

fn instance(server: &Server) -> String {
    server.http.get("blog.localhost", "/instance").ok().body
}

/// What `resource` says of a process type.
fn limits(client: &Client, process: &str) -> Value {
    let all = client.airstrip("resource blog --json").ok().json();
    let found = all.as_array().unwrap().iter().find(|row| row["process"] == process);
    found.unwrap_or_else(|| panic!("no {process}: {all}")).clone()
}

/// Whether this machine lets limits on `resource` be enforced; says so if it does not.
fn enforced(client: &Client, resource: &str) -> bool {
    let enforced = !limits(client, "web")["not_enforced"].as_array().unwrap().contains(&resource.into());
    if !enforced {
        skipped(&client.airstrip("resource blog").ok().out());
    }
    enforced
}

fn with_blog() -> Server {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server
}

#[test]
fn limits_are_set_shown_kept_and_taken_back() {
    let mut server = with_blog();
    let client = server.client();
    let usual = limits(client, "web");
    let expected = json!({"process": "web", "memory": 512 << 20, "cpu": null, "pids": 512, "files": 65536,
        "tmp": 256 << 20, "code": 256 << 20, "log": 5 << 20});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&usual[key], value, "{key}: {usual}");
    }
    let first = instance(&server);
    client.airstrip("resource:limit blog memory=256M cpu=1.5").ok();
    let second = instance(&server);
    assert_ne!(second, first, "an instance has the limits that it was started with");
    let now = limits(client, "web");
    assert_eq!((&now["memory"], &now["cpu"], &now["pids"]), (&json!(256 << 20), &json!(1.5), &json!(512)));
    assert_eq!(limits(client, "run")["memory"], json!(256 << 20));
    assert_eq!(limits(client, "build")["memory"], json!(2_u64 << 30), "builds have their own");
    let people = client.airstrip("resource blog").ok().out();
    assert!(people.contains("256M") && people.contains("1.5") && people.contains("memory"), "{people}");
    client.airstrip("resource:limit blog web memory=256M").ok();
    assert_eq!(instance(&server), second, "nothing changes, nothing is restarted");
    client.airstrip("resource:limit blog build memory=3G").ok();
    assert_eq!((instance(&server), &limits(client, "build")["memory"]), (second.clone(), &json!(3_u64 << 30)));

    server.crash();
    server.start_again();
    let client = server.client();
    assert_eq!((instance(&server), &limits(client, "web")["cpu"]), (second.clone(), &json!(1.5)));
    client.airstrip("resource:limit-clear blog memory").ok();
    assert_eq!(limits(client, "web")["memory"], json!(256 << 20), "its own is still set");
    assert_eq!(instance(&server), second);
    client.airstrip("resource:limit-clear blog web").ok();
    assert_eq!(limits(client, "web")["memory"], json!(512 << 20));
    assert_ne!(instance(&server), second);
    client.airstrip("resource:limit-clear blog memory").fails(1, &["memory", "not set"]);
    client.airstrip("resource:limit-clear blog").ok();
    assert_eq!(limits(client, "web"), usual);
}

#[test]
fn only_the_process_types_concerned_are_restarted() {
    let server = with_blog();
    let client = server.client();
    let app = App::opened(client, "blog");
    app.push_file("Procfile", "web: python -u server.py\nworker: exec sleep 86371\n").ok();
    client.airstrip("ps:scale blog worker=1").ok();
    let pid = |process: &str| {
        let all = client.airstrip("ps blog --json").ok().json();
        all.as_array().unwrap().iter().find(|row| row["process"] == process).unwrap()["pid"].clone()
    };
    let (web, worker) = (pid("web.1"), pid("worker.1"));
    let said = client.airstrip("resource:limit blog worker pids=64").ok().out();
    assert!(said.contains("Restarting worker of blog") && said.contains("worker of blog: pids=64"), "{said}");
    assert_eq!(pid("web.1"), web);
    assert_ne!(pid("worker.1"), worker);
    assert_eq!((&limits(client, "worker")["pids"], &limits(client, "web")["pids"]), (&json!(64), &json!(512)));
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let server = with_blog();
    let client = server.client();
    let before = (instance(&server), limits(client, "web"));
    let wrong = ["memory=512", "memory=1M", "room=1G", "cpu=0", "tmp=none", "memory=-1G", "pids=1.5"];
    for limit in wrong {
        client.airstrip(&format!("resource:limit blog {limit}")).fails(2, &[limit.split('=').next().unwrap()]);
    }
    assert_eq!(client.airstrip("resource:limit blog").status, 2);
    client.airstrip("resource:limit blog web").fails(1, &["nothing to set"]);
    client.airstrip("resource:limit blog memory=1G web").fails(1, &["web"]);
    client.airstrip("resource:limit blog wrker memory=1G").fails(1, &["wrker", "web"]);
    client.airstrip("resource:limit nowhere memory=1G").fails(1, &["nowhere"]);
    assert_eq!((instance(&server), limits(client, "web")), before);
    let deployer = server.client_with_key("deployer", &["--app", "blog", "--role", "deploy"]);
    deployer.airstrip("resource blog").ok();
    deployer.airstrip("resource:limit blog memory=1G").fails(1, &["may not"]);
    deployer.airstrip("resource:limit-clear blog").fails(1, &["may not"]);
}

#[test]
fn limits_under_which_an_app_does_not_start_leave_what_was() {
    let server = with_blog();
    let client = server.client();
    let app = App::opened(client, "blog");
    app.push_file("Procfile", "web: test $(ulimit -n) -ge 1000 && exec python -u server.py\n").ok();
    let before = instance(&server);
    client.airstrip("resource:limit blog files=128").fails(1, &[" !     ", "web.1"]);
    assert_eq!((instance(&server), &limits(client, "web")["files"]), (before, &json!(65536)));
}

#[test]
fn limits_set_before_the_first_push_and_while_stopped_hold_at_the_next_start() {
    let server = Server::start();
    let client = server.client();
    client.airstrip("apps:create blog").ok();
    client.airstrip("resource:limit blog web files=1024").ok();
    assert_eq!(limits(client, "web")["files"], json!(1024));
    App::probe(client, "blog").push().ok();
    let inside = || client.ssh("blog", &["ulimit -n"]).ok().line();
    assert_eq!(inside(), "1024");
    client.airstrip("ps:stop blog").ok();
    client.airstrip("resource:limit blog web files=2048").ok();
    client.airstrip("ps:start blog").ok();
    assert_eq!(inside(), "2048");
    App::opened(client, "blog").push_file("message", "two").ok();
    assert_eq!(inside(), "2048");
    client.airstrip("rollback blog").ok();
    assert_eq!(inside(), "2048", "limits belong to the app, not to a release");
}

#[test]
fn files_and_space_are_limited() {
    let server = with_blog();
    let client = server.client();
    client.airstrip("resource:limit blog files=128 tmp=4M code=4M log=64K").ok();
    let run = |line: &str| client.airstrip(&format!("run blog sh -c '{line}'"));
    assert_eq!(run("ulimit -n").ok().line(), "128");
    for place in ["/tmp", "/home/app", "/home/app/code"] {
        run(&format!("head -c 1000000 /dev/zero > {place}/zeros")).ok();
        let full = run(&format!("head -c 8000000 /dev/zero > {place}/zeros"));
        assert_ne!(full.status, 0, "{place}: {full}");
    }
    run("head -c 8000000 /dev/zero > /home/app/data/zeros").ok();
    let long = "x".repeat(1000);
    for _ in 0..300 {
        server.http.get("blog.localhost", &format!("/say?text={long}")).ok();
    }
    let written = server.home().join("apps/blog/logs/web.1.log");
    let sizes = [written.clone(), written.with_extension("log.1")].map(|file| file.metadata().unwrap().len());
    assert!(sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
}

#[test]
fn web_servers_start_as_many_workers_as_have_room() {
    let server = with_blog();
    let client = server.client();
    let workers = || server.http.get("blog.localhost", "/environ").ok().json()["WEB_CONCURRENCY"].clone();
    client.airstrip("resource:limit blog cpu=0.5").ok();
    assert_eq!(workers(), "1");
    client.airstrip("resource:limit blog cpu=none memory=160M").ok();
    assert_eq!(workers(), "1");
    client.airstrip("config:set blog WEB_CONCURRENCY=3").ok();
    assert_eq!(workers(), "3", "what is set counts");
}

/// A web process that takes so many mebibytes before it answers.
fn taking(mebibytes: u32) -> String {
    format!("web: TAKEN={mebibytes} python -u server.py\n")
}

#[test]
fn an_app_that_needs_more_memory_than_it_may_have_does_not_go_live() {
    let server = with_blog();
    let client = server.client();
    if !enforced(client, "memory") {
        return;
    }
    client.airstrip("resource:limit blog memory=64M").ok();
    let before = instance(&server);
    let app = App::opened(client, "blog");
    app.write("Procfile", taking(200));
    app.commit("Take more than there is");
    app.push().rejected(&["web.1 ran out of memory (limit 64 MiB)", "resource:limit blog web memory=128M"]);
    assert_eq!(instance(&server), before);
    app.write("Procfile", format!("release: python -c 'bytearray(200 << 20)'\n{}", taking(0)));
    app.commit("Take it in the release command");
    app.push().rejected(&["release command ran out of memory (limit 64 MiB)", "resource:limit blog release memory="]);
    client.airstrip("resource:limit blog memory=512M").ok();
    app.push_file("Procfile", taking(200)).ok();
    client.airstrip("resource:limit blog web memory=64M").fails(1, &["ran out of memory (limit 64 MiB)"]);
    assert_eq!(limits(client, "web")["memory"], json!(512 << 20));
    server.http.get("blog.localhost", "/").ok();
}

#[test]
fn an_instance_out_of_memory_is_ended_started_again_and_noted() {
    let server = with_blog();
    let client = server.client();
    if !enforced(client, "memory") {
        return;
    }
    client.airstrip("resource:limit blog memory=64M").ok();
    let before = instance(&server);
    let cut = server.http.get("blog.localhost", "/take?mebibytes=200");
    assert_ne!(cut.status, 200);
    wait_until("another serves", PATIENCE, || {
        let page = server.http.get("blog.localhost", "/instance");
        page.status == 200 && page.body != before
    });
    let log = client.airstrip("logs blog").ok().out();
    let noted = log.lines().find(|line| line.contains("airstrip[web.1]: ran out of memory (limit 64 MiB)"));
    assert!(noted.is_some_and(|line| line.contains("resource:limit blog web memory=128M")), "{log}");
    let alone = client.airstrip("run blog python -c 'bytearray(200 << 20)'");
    assert_ne!(alone.status, 0, "{alone}");
    alone.says(&["ran out of memory (limit 64 MiB)", "resource:limit"]);
    client.airstrip("run blog python -c 'bytearray(20 << 20)'").ok();
}

#[test]
fn processes_are_limited() {
    let server = with_blog();
    let client = server.client();
    if !enforced(client, "pids") {
        return;
    }
    client.airstrip("resource:limit blog run pids=16").ok();
    let many = client.airstrip("run blog sh -c 'for i in $(seq 30); do sleep 86372 & done; echo started'");
    many.says(&["fork"]);
    client.airstrip("run blog sh -c 'for i in $(seq 5); do sleep 0 & done; wait'").ok();
    server.http.get("blog.localhost", "/").ok();
}

#[test]
fn processors_are_limited() {
    let server = with_blog();
    let client = server.client();
    if !enforced(client, "cpu") {
        return;
    }
    client.airstrip("resource:limit blog run cpu=0.2").ok();
    let spin =
        "import time; end = time.monotonic() + 2\nwhile time.monotonic() < end: pass\nprint(time.process_time())";
    let used: f64 =
        client.ssh("airstrip", &["run", "blog", "python", "-c", &format!("\"{spin}\"")]).ok().line().parse().unwrap();
    assert!(used < 1.0, "{used} s of 2 s at a fifth of a processor");
}

#[test]
fn a_build_that_needs_more_memory_than_it_may_have_says_so() {
    let server = with_blog();
    let client = server.client();
    if !enforced(client, "memory") {
        return;
    }
    client.airstrip("resource:limit blog build memory=100M").ok();
    let app = App::opened(client, "blog");
    // A package that brings its own way to be built needs no index.
    app.write("requirements.txt", "./needy\n");
    app.write("needy/pyproject.toml", "[build-system]\nrequires = []\nbuild-backend = 'needy'\nbackend-path = ['.']\n");
    app.write("needy/needy.py", "bytearray(300 << 20)\n");
    app.commit("Need a package that is hard to build");
    app.push().rejected(&["needed more memory than its limit memory=100M", "resource:limit blog build memory=200M"]);
    client.airstrip("resource:limit-clear blog build").ok();
    server.http.get("blog.localhost", "/").ok();
}

#[test]
fn what_the_machine_cannot_enforce_is_told() {
    let Some(server) = Server::as_ordinary_user() else { return };
    App::probe(server.client(), "blog").push().ok();
    let client = server.client();
    if enforced_as_nobody(client) {
        return;
    }
    for said in [client.airstrip("resource blog"), client.airstrip("resource:limit blog memory=64M")] {
        let said = said.ok().out();
        assert!(said.contains(" !     not enforced on this machine: memory"), "{said}");
    }
    let log = server.log();
    for expected in
        ["limits of memory are not enforced", "limits of processor time are not enforced", "cannot be frozen"]
    {
        let told = log.lines().filter(|line| line.contains("WARN") && line.contains(expected)).count();
        assert_eq!(told, 1, "{expected}: {log}");
    }
    assert_eq!(limits(client, "web")["memory"], json!(64 << 20));
    server.http.get("blog.localhost", "/").ok();
}

fn enforced_as_nobody(client: &Client) -> bool {
    let none = limits(client, "web")["not_enforced"].as_array().unwrap().is_empty();
    if none {
        skipped("this machine lets ordinary users enforce every limit");
    }
    none
}

/// A row of `resource` that has to do with `data/`: how much it may hold, how much it holds, and whether more is refused.
fn data(client: &Client) -> (Value, Value, bool) {
    let row = limits(client, "web");
    let watched = row["not_enforced"].as_array().unwrap().contains(&"data".into());
    (row["data"].clone(), row["data_used"].clone(), !watched)
}

/// How often the app's log says that it holds too much.
fn times_told(client: &Client) -> usize {
    let log = client.airstrip("logs blog -n 100").ok().out();
    log.lines().filter(|line| line.contains("airstrip[web.1]: data/ holds more than its limit of 2M")).count()
}

#[test]
fn what_data_may_hold_is_watched_where_nothing_enforces_it() {
    let mut server = with_blog();
    let client = server.client();
    assert_eq!(data(client), (Value::Null, Value::Null, true));
    let first = instance(&server);
    let said = client.airstrip("resource:limit blog data=2M").ok().out();
    if data(client).2 {
        skipped("this machine enforces limits of data/");
        return;
    }
    assert!(said.contains("blog: data=2M") && said.contains(" !     not enforced on this machine: data; "), "{said}");
    assert_eq!(instance(&server), first, "no instance is concerned");
    let (limit, used, _) = data(client);
    assert!(limit == json!(2 << 20) && used.as_u64().is_some_and(|used| used < 1 << 20), "{limit} {used}");
    assert_eq!(limits(client, "build")["data"], Value::Null, "a build has no data/");

    let write = "head -c 3000000 /dev/zero > data/zeros";
    client.ssh("blog", &[write]).ok();
    let people = client.airstrip("resource blog").ok().out();
    let advice = " !     data/ holds more than its limit of 2M; remove something, or, if it really needs more: `resource:limit blog data=4M`";
    assert!(people.contains("2.8M") && people.contains(advice), "{people}");
    assert!(data(client).1.as_u64().is_some_and(|used| (2_900_000..4_000_000).contains(&used)));
    assert_eq!(times_told(client), 1, "once for each time that it comes to be so");
    client.ssh("blog", &["rm data/zeros"]).ok();
    assert!(data(client).1.as_u64().is_some_and(|used| used < 1 << 20));
    client.ssh("blog", &[write]).ok();
    data(client);
    assert_eq!(times_told(client), 2);

    // Without being asked.
    server.crash();
    server.start_again();
    let client = server.client();
    wait_until("it is told", PATIENCE, || times_told(client) == 3);
    client.airstrip("apps:rename blog journal").ok();
    client.airstrip("apps:rename journal blog").ok();
    assert_eq!(data(client).0, json!(2 << 20));
    client.ssh("blog", &["cd data; for i in $(seq 140); do mkdir d; cd d; done"]).ok();
    assert_eq!((data(client).0, data(client).1), (json!(2 << 20), Value::Null));
    let people = client.airstrip("resource blog").ok().out();
    assert!(people.contains("what data/ holds is not known: ") && people.contains("nested deeper"), "{people}");
    client.airstrip("resource:limit-clear blog data").ok();
    assert_eq!(data(client), (Value::Null, Value::Null, true));
    server.http.get("blog.localhost", "/").ok();
}

#[test]
fn data_has_one_limit_for_all_that_runs() {
    let server = with_blog();
    let client = server.client();
    client
        .airstrip("resource:limit blog web data=1G")
        .fails(1, &["web has no data of its own", "resource:limit blog data=1G"]);
    client.airstrip("resource:limit blog data=1K").fails(2, &["data", "1G"]);
    client.airstrip("resource:limit-clear blog data").fails(1, &["data is not set for blog"]);
    client.airstrip("resource:limit blog data=none").ok();
    assert_eq!(data(client).0, Value::Null);
}

#[test]
fn data_cannot_hold_more_than_its_limit_where_the_disk_has_quotas() {
    let Some(mut server) = Server::on_disk_with_quotas(512 << 20) else { return };
    App::probe(server.client(), "blog").push().ok();
    let client = server.client();
    let write = |client: &Client, bytes: u64, name: &str| {
        client.ssh("blog", &[&format!("head -c {bytes} /dev/zero > data/{name}")])
    };
    write(client, 3_000_000, "old").ok();
    let said = client.airstrip("resource:limit blog data=8M").ok().out();
    assert!(!said.contains("not enforced"), "{said}");
    let (limit, used, enforced) = data(client);
    assert!(limit == json!(8 << 20) && enforced, "{limit}");
    assert!(used.as_u64().is_some_and(|used| (3_000_000..3_300_000).contains(&used)), "what was there counts: {used}");
    write(client, 20_000_000, "new").fails(1, &["quota exceeded"]);
    client.ssh("blog", &["rm data/new; echo kept > data/kept"]).ok();

    // Neither a crash, nor another name, nor other data lifts it.
    server.crash();
    server.start_again();
    let client = server.client();
    client.airstrip("apps:rename blog journal").ok();
    client.airstrip("apps:rename journal blog").ok();
    write(client, 20_000_000, "new").fails(1, &["quota exceeded"]);
    client.ssh("blog", &["rm data/new"]).ok();
    let exported = client.airstrip("data:export blog").ok().stdout;
    client.airstrip("apps:create large").ok();
    client.ssh_with("airstrip", &["data:import large"], &exported).ok();
    client.airstrip("resource:limit large data=1M").ok();
    let refused = client.ssh_with("airstrip", &["data:import large"], &exported);
    refused.fails(1, &["more than large may hold, which is 1M", "resource:limit large data=2M"]);
    for _ in 0..2 {
        client.ssh_with("airstrip", &["data:import blog"], &exported).ok();
        assert_eq!(server.http.get("blog.localhost", "/read?name=kept").ok().body, "kept\n");
        assert!(data(client).1.as_u64().is_some_and(|used| (3_000_000..3_300_000).contains(&used)));
        write(client, 20_000_000, "new").fails(1, &["quota exceeded"]);
    }

    // More than it may hold already: it is told so, and can hold no more.
    client.airstrip("resource:limit blog data=2M").ok();
    data(client);
    assert_eq!(times_told(client), 1);
    client.airstrip("resource:limit blog data=64M").ok();
    write(client, 20_000_000, "new").ok();
    client.airstrip("resource:limit-clear blog data").ok();
    write(client, 100_000_000, "new").ok();
    client.airstrip("apps:destroy large --confirm large").ok();
}
