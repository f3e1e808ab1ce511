//! Static sites, built and served.

use std::fs;
use std::os::unix::fs::symlink;

use crate::platform::Platform;
use crate::web::Web;

fn site(files: &[(&str, &str)]) -> Platform {
    let platform = Platform::new("airstrip/static");
    for (path, text) in files {
        platform.file(path, text);
    }
    platform
}

/// Builds and starts.
fn served(platform: &Platform) -> Web {
    let build = platform.build();
    assert!(build.ok, "{}", build.text);
    Web::start(platform)
}

#[test]
fn detects() {
    for (file, status) in
        [("index.html", 0), ("public/index.html", 0), ("dist/index.html", 0), ("static.json", 0), ("a/index.html", 100)]
    {
        assert_eq!(site(&[(file, "")]).detect(), Some(status), "{file}");
    }
}

#[test]
fn a_site_with_redirects() {
    let platform = site(&[("public/index.html", "home\n"), ("public/_redirects", "/a /b\n/* / 200\n")]);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Static site detected
    -----> Serving the directory public with 2 redirects
    ");
    insta::assert_snapshot!(platform.read("layers/launch.toml"), @r#"
    [[processes]]
    type = "web"
    command = ["[PROGRAM]", "static-server", "public"]
    default = true
    "#);
}

#[test]
fn a_mistake_rejects_the_push() {
    let platform = site(&[("index.html", ""), ("_redirects", "/a /b\n/c d\n")]);
    let build = platform.build();
    assert!(!build.ok);
    insta::assert_snapshot!(build.text, @r#"
    -----> Static site detected
     !     Error: _redirects cannot be read
     !
     !     _redirects, line 2: "d" is neither a path that begins with a slash nor an address
     !
     !     Correct the line; docs/BUILDPACKS.md says what is understood.
    "#);
    let platform = site(&[("static.json", r#"{"root": "site", "https_only": true}"#)]);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Static site detected
    -----> Warning: https_only of static.json has no effect here
     !     Error: static.json cannot be read
     !
     !     static.json: there is no directory site
     !
     !     Correct the file.
    ");
}

#[test]
fn a_page() {
    let platform = site(&[("index.html", "home\n")]);
    let web = served(&platform);
    let page = web.get("/", &[]);
    let (tag, modified) = (page.header("etag").unwrap().to_owned(), page.header("last-modified").unwrap().to_owned());
    let date = page.header("date").unwrap();
    let head = page.head.replace(&format!("date: {date}"), "date: [DATE]");
    insta::assert_snapshot!(head.replace(&modified, "[MODIFIED]"), @r#"
    HTTP/1.1 200 OK
    etag: "9a3e246041d3c27dc3645f79"
    accept-ranges: bytes
    last-modified: [MODIFIED]
    content-type: text/html; charset=utf-8
    x-content-type-options: nosniff
    cache-control: public, max-age=0, must-revalidate
    connection: close
    content-length: 5
    date: [DATE]
    "#);
    assert_eq!(page.body, "home\n");
    let head = web.request("HEAD", "/", &[]);
    assert_eq!((head.status(), head.header("content-length"), &*head.body), ("200 OK", Some("5"), ""));

    for known in [format!("If-None-Match: \"x\", W/{tag}"), format!("If-Modified-Since: {modified}")] {
        let same = web.get("/", &[&known]);
        assert_eq!((same.status(), &*same.body), ("304 Not Modified", ""), "{known}");
    }
    let other = web.get("/", &["If-None-Match: \"x\"", &format!("If-Modified-Since: {modified}")]);
    assert_eq!(other.status(), "200 OK");
    // The same size, at once: only the content tells.
    platform.file("index.html", "moon\n");
    let changed = web.get("/", &[&format!("If-None-Match: {tag}")]);
    assert_eq!((changed.status(), &*changed.body), ("200 OK", "moon\n"));
    assert_eq!(web.end(), Some(0));
}

#[test]
fn where_paths_lead() {
    let platform = site(&[
        ("index.html", "home"),
        ("about.html", "about"),
        ("docs/index.html", "docs"),
        ("empty/x.txt", "x"),
        ("a b é.txt", "spaces"),
        ("404.html", "not here"),
        (".well-known/x", "known"),
    ]);
    let web = served(&platform);
    let cases = [
        ("/index.html", "200 OK", "home"),
        ("/about", "200 OK", "about"),
        ("/about.html", "200 OK", "about"),
        ("/docs/", "200 OK", "docs"),
        ("/a%20b%20%C3%A9.txt?x=1", "200 OK", "spaces"),
        ("/.well-known/x", "200 OK", "known"),
        ("/empty/", "404 Not Found", "not here"),
        ("/empty", "404 Not Found", "not here"),
        ("/nothing", "404 Not Found", "not here"),
        ("/index.html/", "404 Not Found", "not here"),
        ("/%ff", "400 Bad Request", "400 Bad Request\n"),
    ];
    for (path, status, body) in cases {
        let answer = web.get(path, &[]);
        assert_eq!((answer.status(), &*answer.body), (status, body), "{path}");
    }
    let directory = web.get("//docs?x=1", &[]);
    assert_eq!((directory.status(), directory.header("location")), ("301 Moved Permanently", Some("/docs/?x=1")));
    let post = web.request("POST", "/", &[]);
    assert_eq!((post.status(), post.header("allow")), ("405 Method Not Allowed", Some("GET, HEAD")));
}

#[test]
fn nothing_else_is_served() {
    let platform = site(&[
        ("public/index.html", ""),
        ("public/.env", "secret"),
        ("public/.git/config", "secret"),
        ("public/_headers", ""),
        ("secret.txt", "secret"),
    ]);
    fs::write(platform.path("app/public/inside.txt"), "inside").unwrap();
    symlink("inside.txt", platform.path("app/public/link.txt")).unwrap();
    symlink("../secret.txt", platform.path("app/public/out.txt")).unwrap();
    symlink("/etc/passwd", platform.path("app/public/passwd")).unwrap();
    nix::unistd::mkfifo(&platform.path("app/public/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let web = served(&platform);
    let paths = [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/_headers",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/x/../../secret.txt",
        "/out.txt",
        "/passwd",
        "/pipe",
        "//etc/passwd",
        "/proc/self/environ",
    ];
    for path in paths {
        let answer = web.get(path, &[]);
        assert!(answer.status().starts_with("40"), "{path}: {answer:?}");
        assert!(!answer.body.contains("secret") && !answer.body.contains("root:"), "{path}: {answer:?}");
    }
    assert_eq!(web.get("/link.txt", &[]).body, "inside");
}

#[test]
fn redirects_and_rewrites() {
    let rules =
        "/old /new\n/moved/* /here/:splat 302\n/out https://host.example/:splat\n/post/:id /index.html?id=:id 308
/index.html /about.html 302!\n/went /gone.html 410\n/app/* /app.html 200\n/about.html /never\n";
    let platform = site(&[
        ("index.html", "home"),
        ("about.html", "about"),
        ("gone.html", "it is gone"),
        ("app.html", "the app"),
        ("app/real.js", "real"),
        ("_redirects", rules),
    ]);
    let web = served(&platform);
    let cases = [
        ("/old?a=b", "301 Moved Permanently", Some("/new?a=b"), "301 Moved Permanently\n"),
        ("/moved/x/y%20z", "302 Found", Some("/here/x/y%20z"), "302 Found\n"),
        ("/moved//evil.example", "302 Found", Some("/here/evil.example"), "302 Found\n"),
        ("/post/7?x=1", "308 Permanent Redirect", Some("/index.html?id=7"), "308 Permanent Redirect\n"),
        ("/index.html", "302 Found", Some("/about.html"), "302 Found\n"),
        ("/about.html", "200 OK", None, "about"),
        ("/went", "410 Gone", None, "it is gone"),
        ("/app/any/where", "200 OK", None, "the app"),
        ("/app/real.js", "200 OK", None, "real"),
    ];
    for (path, status, location, body) in cases {
        let answer = web.get(path, &[]);
        assert_eq!((answer.status(), answer.header("location"), &*answer.body), (status, location, body), "{path}");
    }
}

#[test]
fn parts_of_a_file() {
    let large = (0..40_000).fold(String::new(), |text, number| text + &format!("{number:05}\n"));
    let platform = site(&[("index.html", ""), ("large.txt", &large)]);
    let web = served(&platform);
    assert_eq!(web.get("/large.txt", &[]).body, large);
    let part = web.get("/large.txt", &["Range: bytes=6-10"]);
    assert_eq!(
        (part.status(), part.header("content-range"), &*part.body),
        ("206 Partial Content", Some("bytes 6-10/240000"), "00001")
    );
    assert_eq!(web.get("/large.txt", &["Range: bytes=-6"]).body, "39999\n");
    let beyond = web.get("/large.txt", &["Range: bytes=240000-"]);
    assert_eq!(
        (beyond.status(), beyond.header("content-range")),
        ("416 Range Not Satisfiable", Some("bytes */240000"))
    );
    let tag = part.header("etag").unwrap();
    assert_eq!(web.get("/large.txt", &["Range: bytes=0-0", &format!("If-Range: {tag}")]).body, "0");
    assert_eq!(web.get("/large.txt", &["Range: bytes=0-0", "If-Range: \"x\""]).status(), "200 OK");
}

#[test]
fn compressed_siblings() {
    let platform = site(&[("index.html", ""), ("a.js", "plain"), ("a.js.gz", "gzip"), ("a.js.br", "brotli")]);
    let web = served(&platform);
    let cases = [
        ("gzip, deflate, br", Some("br"), "brotli"),
        ("gzip;q=0.5", Some("gzip"), "gzip"),
        ("br;q=0, gzip", Some("gzip"), "gzip"),
        ("identity", None, "plain"),
    ];
    for (accepted, encoding, body) in cases {
        let answer = web.get("/a.js", &[&format!("Accept-Encoding: {accepted}")]);
        assert_eq!((answer.header("content-encoding"), &*answer.body), (encoding, body), "{accepted}");
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    }
    assert_eq!(web.get("/", &[]).header("vary"), None);
}

#[test]
fn headers_of_the_sites_own() {
    let rules = "/*\n  X-Frame-Options: DENY\n/assets/*\n  Cache-Control: public, max-age=31536000, immutable\n";
    let platform = site(&[("index.html", ""), ("assets/x.css", ""), ("_headers", rules)]);
    let web = served(&platform);
    let asset = web.get("/assets/x.css", &[]);
    assert_eq!(asset.header("x-frame-options"), Some("DENY"));
    assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(web.get("/nothing", &[]).header("x-frame-options"), Some("DENY"));
}

/// An instance of a static site should cost next to nothing.
#[test]
fn it_is_small() {
    let platform = site(&[("index.html", "home")]);
    let web = served(&platform);
    for _ in 0..20 {
        web.get("/", &[]);
    }
    let status = fs::read_to_string(format!("/proc/{}/status", web.id())).unwrap();
    let kilobytes = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    println!("anonymous {} kB, with the program's file {} kB", kilobytes("RssAnon"), kilobytes("VmRSS"));
    assert!(kilobytes("RssAnon") < 4096, "{status}");
}
