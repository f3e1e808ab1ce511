//! A one-line change in a repository of two thousand files.

use crate::harness::{App, PATIENCE, Server, wait_until};
use crate::measured::{Measured, Target};
use crate::receipt::{phase, push};
use crate::times::Times;

const ROUNDS: usize = 10;
const FILES: usize = 2000;

/// Ten in each directory, each of its own content.
pub fn measure() -> Measured {
    let server = Server::start();
    let page = |round: usize| format!("round {round} of");
    let app = App::new(server.client(), "many", &[("requirements.txt", ""), ("Procfile", "web: python3 serve.py\n")]);
    app.write("serve.py", serve(&page(0)));
    for number in 0..FILES {
        let text = format!("line of {number}\n").repeat(number % 100 + 1);
        app.write(&format!("src/{}/file{number}.txt", number / 10), text);
    }
    app.commit("Add many files");
    push(&server, &app, "many", &page(0));
    let settled = server.processes().len();
    let change = |round: usize| {
        app.write("serve.py", serve(&page(round)));
        app.commit("Change a line");
        let (_, receipt) = push(&server, &app, "many", &page(round));
        wait_until("the old version ends", PATIENCE, || server.processes().len() == settled);
        phase(&receipt, "build")
    };
    let builds = Times::new((1..=ROUNDS).map(change).collect());
    println!("build after a one-line change in {FILES} files: {builds}");
    let what = "build after a one-line change, 2000 files";
    Measured { what, figure: builds.median(), unit: "ms", peer: None, target: Target::AtMost(100.0) }
}

fn serve(page: &str) -> String {
    format!(
        "import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '{length}'); self.end_headers(); self.wfile.write(b'{page}')
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Page).serve_forever()
",
        length = page.len()
    )
}
