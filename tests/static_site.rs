//! Static sites.

use crate::harness::{App, Server};

#[test]
fn a_site_is_served() {
    let server = Server::start();
    let files = [
        ("index.html", "home\n"),
        ("404.html", "nothing here\n"),
        ("_redirects", "/old /new 302\n"),
        (".env", "secret\n"),
    ];
    let app = App::new(server.client(), "site", &files);
    let push = app.push().ok();
    push.position("-----> Static site detected");
    let get = |path: &str| server.http.get("site.localhost", path);
    assert_eq!(get("/").ok().body, "home\n");
    assert_eq!((get("/old").status, get("/.env").status), (302, 404));
    assert_eq!(get("/nowhere").body, "nothing here\n");

    app.push_file("index.html", "moon\n").ok();
    assert_eq!(get("/").ok().body, "moon\n");
    app.push_file("_redirects", "/a\n").rejected(&["_redirects, line 1: expected FROM TO [STATUS]"]);
    assert_eq!(get("/").ok().body, "moon\n");
}
