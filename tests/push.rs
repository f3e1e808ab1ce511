//! A push becomes a running app, or changes nothing.

use crate::harness::{App, Client, Load, PATIENCE, Server, wait_until};

#[test]
fn a_push_becomes_a_page() {
    hello_becomes_a_page(&Server::start());
}

pub fn hello_becomes_a_page(server: &Server) {
    let app = App::copy_of(server.client(), "hello", "examples/hello");
    let push = app.push().ok();
    let page = server.http.get("hello.localhost", "/").ok();
    assert!(page.body.contains("Hello from v1!"), "{page:?}");
    assert!(page.body.contains("seen 1 time."), "{page:?}");
    assert_eq!(app.branch_on_server("main"), Some(app.head()));

    let steps: Vec<_> = push.remote.iter().filter(|line| line.starts_with("-----> ")).collect();
    assert!(steps.len() >= 3, "steps of the build should be shown: {}", push.reply);
    assert!(steps.iter().any(|step| step.contains("Python app detected")), "{}", push.reply);
    let address = format!("       http://hello.localhost:{}", server.http.0.port());
    assert_eq!(push.position("=====> ") + 1, push.position(&address), "the receipt, then the address: {}", push.reply);
    let last = push.remote.iter().rfind(|line| !line.is_empty()).unwrap();
    assert_eq!(last, &address, "the address comes last: {}", push.reply);
    check_receipt(&push.remote[push.position("=====> ")], "hello v1");
}

/// `=====> blog v12 is live in 0.31s (receive 0.01  build 0.02  release 0.00  launch 0.22  route 0.00)`
fn check_receipt(line: &str, what: &str) {
    let rest = line.strip_prefix(&format!("=====> {what} is live in ")).unwrap_or_else(|| panic!("{line}"));
    let (total, phases) = rest.split_once("s (").unwrap();
    let words: Vec<_> =
        phases.strip_suffix(')').unwrap().split("  ").map(|part| part.split_once(' ').unwrap()).collect();
    let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["receive", "build", "release", "launch", "route"], "{line}");
    let sum: f64 = words.iter().map(|(_, seconds)| seconds.parse::<f64>().unwrap()).sum();
    let total: f64 = total.parse().unwrap();
    assert!((total - sum).abs() < 0.1 + total * 0.05, "the phases should make up the whole: {line}");
}

#[test]
fn data_survives_a_second_push() {
    data_survives(&Server::start());
}

pub fn data_survives(server: &Server) {
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    server.http.get("blog.localhost", "/write?name=kept&text=treasure").ok();
    let push = app.push_file("message", "two").ok();
    check_receipt(&push.remote[push.position("=====> ")], "blog v2");
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
    assert_eq!(server.http.get("blog.localhost", "/read?name=kept").ok().body, "treasure");
}

#[test]
fn the_receipt_says_how_requests_fared_during_the_switch() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    let first = app.push().ok();
    assert!(!first.reply.err().contains("during the switch"), "nobody asked: {}", first.reply);
    let load = Load::start(server.http, "blog.localhost", "/", 2);
    load.goes_on();
    let push = app.push_file("message", "two").ok();
    let tally = load.stop();
    assert_eq!(tally.failures, Vec::<String>::new());
    let said = push.remote.iter().rfind(|line| line.contains("during the switch")).unwrap();
    let count: usize = said.trim_start().split(' ').next().unwrap().parse().unwrap();
    assert!((1..=tally.served).contains(&count), "{said}, of {}", tally.served);
    assert!(said.ends_with("requests served during the switch, none failed"), "{said}");
}

#[test]
fn output_appears_while_it_happens_and_the_old_release_serves_meanwhile() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    app.write(
        "Procfile",
        "release: echo waiting for go; until test -e ~/data/go; do sleep 0.1; done\nweb: python -u server.py\n",
    );
    app.write("message", "two");
    app.commit("Wait in the release command");
    let mut push = app.start_push();
    push.wait_for("waiting for go", PATIENCE);
    assert!(push.runs(), "the push waits for its release command");
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
    server.http.get("blog.localhost", "/write?name=go&text=yes").ok();
    push.wait_for("=====> blog v2 is live", PATIENCE);
    assert_eq!(push.finish(PATIENCE).status, 0);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn ctrl_c_at_the_pusher_cancels_the_build_and_changes_nothing() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let before = (app.branch_on_server("main"), server.directories(), server.processes().len());
    app.write("Procfile", "release: echo in the release command; exec sleep 86399\nweb: python -u server.py\n");
    app.commit("Never ends");
    let mut push = app.start_push();
    push.wait_for("in the release command", PATIENCE);
    push.interrupt();
    assert_ne!(push.finish(PATIENCE).status, 0);
    wait_until("nothing of the push is left", PATIENCE, || {
        before == (app.branch_on_server("main"), server.directories(), server.processes().len())
    });
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
    app.write("Procfile", "web: python -u server.py\n");
    app.push_file("message", "two").ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn a_push_of_another_branch_is_rejected_and_names_the_deploy_branch() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    app.git(&["checkout", "-q", "-b", "idea"]).ok();
    app.write("message", "idea");
    app.commit("An idea");
    app.push_with(&["airstrip", "idea"]).rejected(&["deploy branch", "main"]);
    assert_eq!(app.branch_on_server("idea"), None);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
    app.push_with(&["airstrip", "idea:main"]).ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "idea");
}

#[test]
fn the_first_branch_pushed_becomes_the_deploy_branch() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push_with(&["airstrip", "main:trunk"]).ok();
    app.write("message", "two");
    app.commit("Two");
    app.push().rejected(&["trunk"]);
    app.push_with(&["airstrip", "main:trunk"]).ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn of_all_branches_main_is_deployed_or_master_or_one_is_asked_for() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.git(&["branch", "-q", "-m", "main", "zebra"]).ok();
    app.git(&["branch", "-q", "idea"]).ok();
    app.push_with(&["airstrip", "--all"]).rejected(&["2 branches, and none of them is main or master"]);
    assert_eq!((app.branch_on_server("idea"), app.branch_on_server("zebra")), (None, None));
    app.git(&["branch", "-q", "master"]).ok();
    // By name `idea` comes first.
    app.push_with(&["airstrip", "--all"]).rejected(&["idea is not the deploy branch of blog, which is master"]);
    assert_eq!((app.branch_on_server("idea"), app.branch_on_server("master")), (None, Some(app.head())));
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");

    let other = App::probe(server.client(), "shop");
    other.git(&["branch", "-q", "idea"]).ok();
    other.git(&["branch", "-q", "master"]).ok();
    other.push_with(&["airstrip", "--all"]).rejected(&["which is main"]);
    assert_eq!((other.branch_on_server("main"), other.branch_on_server("master")), (Some(other.head()), None));
}

#[test]
fn a_failed_first_push_leaves_the_app_without_release_and_without_deploy_branch() {
    let server = Server::start();
    let app = App::new(server.client(), "blog", &[("README", "nothing to run")]);
    app.push_with(&["airstrip", "main:wrong"]).rejected(&[]);
    assert_eq!(app.branch_on_server("wrong"), None);
    assert!(server.client().airstrip("apps").ok().out().contains("blog"));
    assert_eq!(server.http.get("blog.localhost", "/").status, 503);
    app.write("Procfile", "web: python3 -m http.server $PORT\n");
    app.write("requirements.txt", "");
    app.commit("Something to run");
    app.push().ok();
    assert!(server.http.get("blog.localhost", "/README").ok().body.contains("nothing to run"));
}

#[test]
fn a_forced_push_deploys_and_deleting_the_deploy_branch_is_refused() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    app.write("message", "rewritten");
    app.git(&["commit", "-q", "--amend", "-a", "-m", "Rewritten"]).ok();
    app.push_with(&["--force", "airstrip", "main"]).ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "rewritten");
    app.push_with(&["airstrip", ":main"]).rejected(&["main"]);
    assert_eq!(app.branch_on_server("main"), Some(app.head()));
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "rewritten");
}

#[test]
fn a_tag_is_stored_and_deploys_nothing() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    app.git(&["tag", "first"]).ok();
    app.push_with(&["airstrip", "first"]).ok();
    let listed = app.git(&["ls-remote", "--upload-pack=git-receive-pack", "airstrip", "refs/tags/first"]).ok();
    assert!(listed.out().starts_with(&app.head()), "{listed}");
    assert_eq!(server.client().airstrip("releases blog --json").ok().json().as_array().unwrap().len(), 1);
}

#[test]
fn the_same_commit_again_is_up_to_date() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let again = app.push().ok();
    assert!(again.reply.err().contains("up-to-date"), "{}", again.reply);
    assert_eq!(server.client().airstrip("releases blog --json").ok().json().as_array().unwrap().len(), 1);
}

#[test]
fn two_apps_do_not_meet() {
    let server = Server::start();
    let (blog, blog2) = (App::probe(server.client(), "blog"), App::probe(server.client(), "blog2"));
    blog2.write("message", "other");
    blog2.commit("Other");
    std::thread::scope(|scope| {
        let pushes = [&blog, &blog2].map(|app| scope.spawn(|| app.push().ok()));
        for push in pushes {
            push.join().unwrap();
        }
    });
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
    assert_eq!(server.http.get("blog2.localhost", "/").ok().body, "other");
    server.client().airstrip("apps:destroy blog --confirm blog").ok();
    assert_eq!(server.http.get("blog.localhost", "/").status, 404);
    assert_eq!(server.http.get("blog2.localhost", "/").ok().body, "other");
}

#[test]
fn a_second_push_to_the_same_app_does_not_tread_on_the_first() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    app.write(
        "Procfile",
        "release: echo waiting for go; until test -e ~/data/go; do sleep 0.1; done\nweb: python -u server.py\n",
    );
    app.commit("Wait");
    let mut first = app.start_push();
    first.wait_for("waiting for go", PATIENCE);
    app.write("message", "two");
    app.commit("Two");
    let mut second = app.start_push();
    // Whether the second waits or is refused is the server's choice; what serves at the end must be what the ref says.
    server.http.get("blog.localhost", "/write?name=go&text=yes").ok();
    first.wait_for("=====> blog v2 is live", PATIENCE);
    assert_eq!(first.finish(PATIENCE).status, 0);
    let _may_have_ended = second.runs();
    let status = second.finish(PATIENCE * 2).status;
    let (message, head) = (server.http.get("blog.localhost", "/").ok().body, app.branch_on_server("main"));
    assert_eq!(message == "two", status == 0);
    assert_eq!(head == Some(app.head()), status == 0);
}

#[test]
fn the_url_of_the_remote_may_end_in_git_and_be_in_scp_form() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push_with(&["airstrip@server:blog.git", "main"]).ok();
    app.write("message", "two");
    app.commit("Two");
    app.push_with(&["airstrip@server:/blog", "main"]).ok();
    assert_eq!(Client::remote("blog"), "ssh://airstrip@server/blog");
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn a_dry_run_builds_releases_nothing_and_says_how_it_went() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let before = app.branch_on_server("main");
    app.write("message", "two");
    app.commit("Would do");
    let passed = app.git(&["push", "-o", "dry-run", "airstrip", "main"]);
    assert!(passed.status != 0 && passed.err().contains("(dry run passed)"), "{passed}");
    app.write("Procfile", "nonsense\n");
    app.commit("Would not do");
    let failed = app.git(&["push", "-o", "dry-run", "airstrip", "main"]);
    assert!(failed.status != 0 && failed.err().contains("(dry run failed: Procfile: line 1"), "{failed}");
    assert_eq!(app.branch_on_server("main"), before);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
}
