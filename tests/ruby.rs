//! Ruby apps, with a gem that they bring: no registry is needed.

use std::fs;
use std::process::Command;

use crate::harness::{App, PATIENCE, Server, run, skipped};

const LOCK: &str = "GEM
  remote: https://gems.invalid/
  specs:
    greeting (1.0.0)

PLATFORMS
  ruby

DEPENDENCIES
  greeting
";

const SPECIFICATION: &str = "Gem::Specification.new do |s|
  s.name, s.version, s.summary, s.authors, s.files = 'greeting', '1.0.0', 'x', ['x'], ['lib/greeting.rb']
end
";

const SERVER: &str = "require 'socket'
require 'greeting'
server = TCPServer.new('0.0.0.0', ENV.fetch('PORT'))
loop do
  client = server.accept
  while (line = client.gets) && line != \"\\r\\n\"; end
  client.write \"HTTP/1.1 200 OK\\r\\nContent-Length: #{GREETING.bytesize}\\r\\nConnection: close\\r\\n\\r\\n#{GREETING}\"
  client.close
end
";

/// Puts the gem into the app's `vendor/cache`, as `bundle package` does.
fn bring_gem(app: &App<'_>) {
    let gem = app.directory.with_extension("gem");
    fs::create_dir_all(gem.join("lib")).unwrap();
    fs::create_dir_all(app.directory.join("vendor/cache")).unwrap();
    fs::write(gem.join("lib/greeting.rb"), "GREETING = 'by ruby'\n").unwrap();
    fs::write(gem.join("x.gemspec"), SPECIFICATION).unwrap();
    let target = app.directory.join("vendor/cache/greeting-1.0.0.gem");
    let mut build = Command::new("gem");
    build.args(["build", "--silent", "x.gemspec", "--output"]).arg(target).current_dir(&gem);
    run(&mut build, b"", PATIENCE).ok();
}

#[test]
fn an_app_with_a_gem_is_served() {
    if ["ruby", "bundle", "gem"].iter().any(|program| Command::new(program).arg("--version").output().is_err()) {
        return skipped("ruby, bundler or gem is not installed");
    }
    let server = Server::start();
    let files = [
        ("Gemfile", "source 'https://gems.invalid'\ngem 'greeting'\n"),
        ("Gemfile.lock", LOCK),
        ("server.rb", SERVER),
        ("Procfile", "web: bundle exec ruby server.rb\n"),
    ];
    let app = App::new(server.client(), "gems", &files);
    bring_gem(&app);
    app.commit("Bring the gem");
    app.push().ok().position("-----> Ruby app detected");
    assert_eq!(server.http.get("gems.localhost", "/").ok().body, "by ruby");
    let again = app.push_file("server.rb", SERVER.replace("GREETING.bytesize", "7")).ok();
    assert!(!again.remote.iter().any(|line| line.contains("bundle install")), "{}", again.reply);
    assert_eq!(server.http.get("gems.localhost", "/").ok().body, "by ruby");
}
