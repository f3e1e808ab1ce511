//! The table of requests that are refused. [`the_documents_show_the_table`] keeps `docs/SECURITY.md` to it.
//!
//! From RFC 9112 and RFC 9110, and from published work on request smuggling: conflicting lengths (CL.TE, TE.CL, CL.CL),
//! disguised codings (TE.TE), bare line feeds, odd chunks, and whatever else shifts the end of a request.

/// What is wrong with a request, and the request.
type Case = (&'static str, String);

/// Cases of one kind, and the status that answers each.
pub(super) struct Group {
    pub kind: &'static str,
    pub status: u16,
    pub cases: Vec<Case>,
}

/// Each is answered with its group's status, once, and is the last of its connection.
pub(super) fn refused() -> Vec<Group> {
    let group = |kind, status, cases| Group { kind, status, cases };
    vec![
        group("Whom it is for", 400, hosts()),
        group("The request line", 400, request_lines()),
        group("The lines of the head", 400, header_lines()),
        group("How long it is", 400, lengths()),
        group("How it is coded", 400, codings()),
        group("Its chunks", 400, chunkings()),
        group("Its size", 431, sizes()),
    ]
}

fn get(what: &'static str, head: &str) -> Case {
    (what, format!("GET / HTTP/1.1\r\n{head}\r\n\r\n"))
}

fn post(what: &'static str, rest: &str) -> Case {
    (what, format!("POST / HTTP/1.1\r\nHost: app\r\n{rest}"))
}

fn chunks(what: &'static str, body: &str) -> Case {
    (what, format!("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n{body}"))
}

fn line(what: &'static str, line: &str) -> Case {
    (what, format!("{line}\r\nHost: app\r\n\r\n"))
}

fn whole(what: &'static str, request: &str) -> Case {
    (what, request.to_owned())
}

fn hosts() -> Vec<Case> {
    vec![
        get("no host", "A: b"),
        get("an empty host", "Host:"),
        get("two hosts", "Host: app\r\nHost: other"),
        get("the same host twice", "Host: app\r\nHost: app"),
        get("hosts in a list", "Host: app, app"),
        get("a user in the host", "Host: me@app"),
        get("a path in the host", "Host: app/x"),
        get("a query in the host", "Host: app?x"),
        get("a space in the host", "Host: app x"),
        get("a tab in the host", "Host: app\tx"),
        get("a bad port", "Host: app:8a"),
        get("a long port", "Host: app:808080"),
        get("two ports", "Host: app:80:80"),
        get("bytes in the host", "Host: \u{e4}pp"),
        get("an empty label", "Host: app..x"),
        get("a percent in the host", "Host: app%2ex"),
        get("a backslash in the host", "Host: app\\x"),
        line("another host in the target", "GET http://other/ HTTP/1.1"),
        line("another port in the target", "GET http://app:81/ HTTP/1.1"),
        line("a user in the target", "GET http://me@app/ HTTP/1.1"),
        whole("a target without its host", "GET http://app/ HTTP/1.1\r\n\r\n"),
    ]
}

fn request_lines() -> Vec<Case> {
    vec![
        line("another scheme", "GET ftp://app/ HTTP/1.1"),
        line("a scheme without authority", "GET http:/// HTTP/1.1"),
        line("an authority", "GET app:80 HTTP/1.1"),
        line("a connect", "CONNECT app:80 HTTP/1.1"),
        line("a connect to a path", "CONNECT / HTTP/1.1"),
        line("a star", "GET * HTTP/1.1"),
        line("a relative target", "GET x HTTP/1.1"),
        line("no target", "GET HTTP/1.1"),
        line("an empty target", "GET  HTTP/1.1"),
        line("two spaces before the version", "GET /  HTTP/1.1"),
        line("a tab for a space", "GET\t/ HTTP/1.1"),
        line("a space in the target", "GET /a b HTTP/1.1"),
        line("a space after the version", "GET / HTTP/1.1 "),
        line("a space before the method", " GET / HTTP/1.1"),
        line("no version", "GET /"),
        line("an old version", "GET / HTTP/0.9"),
        line("another version", "GET / HTTP/1.2"),
        line("a version of the future", "GET / HTTP/3.1"),
        line("a version in lower case", "GET / http/1.1"),
        line("another protocol", "GET / HTTPS/1.1"),
        line("a NUL in the target", "GET /\0 HTTP/1.1"),
        line("a NUL in the method", "G\0T / HTTP/1.1"),
        line("a method with a colon", "GE:T / HTTP/1.1"),
        line("half of HTTP/2", "PRI * HTTP/2.0"),
    ]
}

fn header_lines() -> Vec<Case> {
    vec![
        whole("a bare LF after the request line", "GET / HTTP/1.1\nHost: app\r\n\r\n"),
        whole("a bare LF after a header", "GET / HTTP/1.1\r\nHost: app\nA: b\r\n\r\n"),
        whole("a bare LF at the end of the head", "GET / HTTP/1.1\r\nHost: app\r\n\n"),
        whole("LF alone everywhere", "GET / HTTP/1.1\nHost: app\n\n"),
        whole("a bare LF before the request", "\nGET / HTTP/1.1\r\nHost: app\r\n\r\n"),
        get("a bare CR in a value", "Host: app\r\nA: b\rC: d"),
        get("a CR before CRLF", "Host: app\r\nA: b\r"),
        get("a bare CR in a name", "Host: app\r\nA\rB: c"),
        get("a NUL in a value", "Host: app\r\nA: \0"),
        get("a NUL in a name", "Host: app\r\nA\0: b"),
        get("another control byte in a value", "Host: app\r\nA: \u{1}"),
        get("a space before the colon", "Host: app\r\nA : b"),
        get("a tab before the colon", "Host: app\r\nA\t: b"),
        get("a space before the colon of Host", "Host : app"),
        get("a folded header", "Host: app\r\nA: 1\r\n 2"),
        get("a folded header with a tab", "Host: app\r\nA: 1\r\n\t2"),
        get("a fold as first header", " A: b\r\nHost: app"),
        get("a line without a colon", "Host: app\r\nA"),
        get("a name that is empty", "Host: app\r\n: b"),
        get("a space in a name", "Host: app\r\nA B: c"),
        get("a bracket in a name", "Host: app\r\nA[: c"),
        get("bytes in a name", "Host: app\r\n\u{e4}: b"),
    ]
}

fn lengths() -> Vec<Case> {
    vec![
        post("two lengths", "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        post("the same length twice", "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
        post("a list of lengths", "Content-Length: 2, 2\r\n\r\nab"),
        post("a length with plus", "Content-Length: +2\r\n\r\nab"),
        post("a length with minus", "Content-Length: -2\r\n\r\nab"),
        post("a length in hexadecimal", "Content-Length: 0x2\r\n\r\nab"),
        post("a length with a point", "Content-Length: 2.0\r\n\r\nab"),
        post("a length with a space", "Content-Length: 1 2\r\n\r\nab"),
        post("a length in quotes", "Content-Length: \"2\"\r\n\r\nab"),
        post("a length with an underscore", "Content-Length: 1_0\r\n\r\nab"),
        post("a length in other digits", "Content-Length: \u{663}\r\n\r\nabc"),
        post("an empty length", "Content-Length:\r\n\r\n"),
        post("a length that overflows", "Content-Length: 18446744073709551618\r\n\r\nab"),
        post("a length that nobody can hold", "Content-Length: 99999999999999999999999\r\n\r\nab"),
        post("a space before the colon of the length", "Content-Length : 2\r\n\r\nab"),
        post("a length before chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("a length after chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        post("no length beside chunked", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ]
}

fn codings() -> Vec<Case> {
    vec![
        post("another coding", "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
        post("another coding before chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        post("chunked not last", "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        post("identity", "Transfer-Encoding: identity\r\n\r\n"),
        post("identity after chunked", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        post("chunked twice in a list", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        post("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        post("a second coding", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
        post("an odd coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        post("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
        post("chunked with a parameter", "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
        post("chunked with a comma", "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
        post("an empty coding", "Transfer-Encoding:\r\n\r\n"),
        post("a vertical tab before chunked", "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
        post("a space before the colon of the coding", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        post("a folded coding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        whole("chunked in 1.0", "POST / HTTP/1.0\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ]
}

fn chunkings() -> Vec<Case> {
    vec![
        chunks("a chunk of no size", "\r\nabc\r\n0\r\n\r\n"),
        chunks("a size that is no number", "g\r\n"),
        chunks("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        chunks("a size with plus", "+3\r\nabc\r\n0\r\n\r\n"),
        chunks("a size with minus", "-3\r\nabc\r\n0\r\n\r\n"),
        chunks("a size that overflows", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        chunks("a size with many digits", &format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(20))),
        chunks("a space before the size", " 3\r\nabc\r\n0\r\n\r\n"),
        chunks("a space after the size", "3 \r\nabc\r\n0\r\n\r\n"),
        chunks("a bare LF after the size", "3\nabc\r\n0\r\n\r\n"),
        chunks("a bare CR after the size", "3\rabc\r\n0\r\n\r\n"),
        chunks("a bare LF after the chunk", "3\r\nabc\n0\r\n\r\n"),
        chunks("more than the size says", "3\r\nabcd\r\n0\r\n\r\n"),
        chunks("nothing after the chunk", "3\r\nabc0\r\n\r\n"),
        chunks("a bare LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        chunks("a bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        chunks("a NUL in an extension", "3;a\0\r\nabc\r\n0\r\n\r\n"),
        chunks("a long extension", &format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(300))),
        chunks("a bare LF after the last chunk", "0\n\r\n"),
        chunks("a bare LF at the end", "0\r\n\n"),
        chunks("a length in a trailer", "0\r\nContent-Length: 5\r\n\r\n"),
        chunks("a coding in a trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        chunks("a host in a trailer", "0\r\nHost: other\r\n\r\n"),
        chunks("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
        chunks("a trailer without a colon", "0\r\nA\r\n\r\n"),
        chunks("a bare LF in the trailers", "0\r\nA: b\nC: d\r\n\r\n"),
    ]
}

fn sizes() -> Vec<Case> {
    let (many, long) = ("A: 1\r\n".repeat(200), "a".repeat(100_000));
    vec![
        get("many headers", &format!("Host: app\r\n{many}")),
        get("a long header", &format!("Host: app\r\nA: {long}")),
        line("a long target", &format!("GET /{long} HTTP/1.1")),
    ]
}

#[test]
fn the_documents_show_the_table() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SECURITY.md")).unwrap();
    for Group { kind, status, cases } in refused() {
        let cases: Vec<_> = cases.into_iter().map(|(what, _)| what).collect();
        let row = format!("| {kind} | {status} | {} |\n", cases.join("; "));
        assert!(document.contains(&row), "docs/SECURITY.md has no row like this one:\n{row}");
    }
}
