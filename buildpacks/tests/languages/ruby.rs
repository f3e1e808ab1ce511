//! Ruby apps, with gems that they bring in `vendor/cache`.

use std::fs;
use std::process::Command;

use crate::platform::{Platform, have};

const GEMFILE: &str = "source 'https://gems.invalid'\ngem 'hello'\n";
const LOCK: &str = "GEM
  remote: https://gems.invalid/
  specs:
    hello (1.0.0)

PLATFORMS
  ruby

DEPENDENCIES
  hello

BUNDLED WITH
   9.9.9
";

fn platform() -> Option<Platform> {
    if !have("ruby") || !have("bundle") || !have("gem") {
        return None;
    }
    let mut platform = Platform::new("airstrip/ruby");
    let version = Command::new("ruby").args(["-e", "print RUBY_VERSION"]).output().unwrap().stdout;
    platform.redacted.push((String::from_utf8(version).unwrap(), "[RUBY]"));
    let bundler = Command::new("bundle").arg("--version").output().unwrap().stdout;
    let bundler = String::from_utf8(bundler).unwrap().trim().rsplit(' ').next().unwrap().to_owned();
    platform.redacted.push((format!("bundler {bundler}"), "bundler [BUNDLER]"));
    platform.file("Gemfile", GEMFILE).file("Gemfile.lock", LOCK);
    gem(&platform, "hello", "");
    Some(platform)
}

/// Puts a gem with a library and a program of its name into `vendor/cache`.
fn gem(platform: &Platform, name: &str, program: &str) {
    let directory = platform.path(&format!("gem-{name}"));
    for directory in [directory.join("lib"), directory.join("exe"), platform.path("app/vendor/cache")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(directory.join(format!("lib/{name}.rb")), "HELLO = 'hello 1.0.0'\n").unwrap();
    fs::write(directory.join("exe").join(name), program).unwrap();
    let specification = format!(
        "Gem::Specification.new do |s|
  s.name, s.version, s.summary, s.authors, s.files = '{name}', '1.0.0', 'x', ['x'], ['lib/{name}.rb', 'exe/{name}']
  s.bindir, s.executables = 'exe', ['{name}']
end
"
    );
    fs::write(directory.join("x.gemspec"), specification).unwrap();
    let target = platform.path(&format!("app/vendor/cache/{name}-1.0.0.gem"));
    let mut build = Command::new("gem");
    build.args(["build", "--silent", "x.gemspec", "--output"]).arg(target).current_dir(directory);
    assert!(build.output().unwrap().status.success());
}

/// The value of a variable of the running app.
fn variable(platform: &Platform, name: &str) -> String {
    fs::read_to_string(platform.path("layers/ruby/env.launch").join(format!("{name}.default"))).unwrap()
}

#[test]
fn detects() {
    let platform = Platform::new("airstrip/ruby");
    assert_eq!(platform.detect(), Some(100));
    platform.file("Gemfile", "");
    assert_eq!(platform.detect(), Some(0));
}

#[test]
fn a_lock_file_becomes_a_layer_that_is_kept() {
    let Some(mut platform) = platform() else { return };
    platform.file("config.ru", "run nil\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Ruby app detected
    -----> Using Ruby [RUBY]
    -----> Installing gems using 'bundle install --local'
           Using bundler [BUNDLER]
           Installing hello 1.0.0
           Bundle complete! 1 Gemfile dependency, 2 gems now installed.
           Gems in the groups 'development' and 'test' were not installed.
           Bundled gems are installed into `[T]/layers/gems`
    -----> Serving config.ru
           web: bundle exec rackup config.ru --host 0.0.0.0 --port $PORT
    ");
    insta::assert_snapshot!(platform.read("layers/launch.toml"), @r#"
    [[processes]]
    type = "web"
    command = ["sh", "-c"]
    args = ["exec bundle exec rackup config.ru --host 0.0.0.0 --port $PORT"]
    default = true
    "#);
    let mut ruby = Command::new("bundle");
    ruby.args(["exec", "ruby", "-e", "require 'hello'; print HELLO"]).current_dir(platform.path("app"));
    for name in ["BUNDLE_PATH", "BUNDLE_FROZEN", "BUNDLE_WITHOUT", "BUNDLER_VERSION"] {
        ruby.env(name, variable(&platform, name));
    }
    let said = ruby.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "hello 1.0.0", "{said:?}");

    platform.restore();
    let started = platform.note_programs(&["bundle"]);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Ruby app detected
    -----> Using Ruby [RUBY]
    -----> Using the gems of the previous release: Gemfile.lock is unchanged
    -----> Serving config.ru
           web: bundle exec rackup config.ru --host 0.0.0.0 --port $PORT
    ");
    let started = fs::read_to_string(started).unwrap();
    assert_eq!(started, "bundle --version\n");
}

#[test]
fn assets_are_compiled() {
    let Some(platform) = platform() else { return };
    // Their names are all that counts.
    gem(&platform, "propshaft", "");
    gem(&platform, "rake", "require 'hello'\nFile.write('assets', ARGV[0] + ' ' + ENV['RAILS_ENV'] + ' ' + HELLO)\n");
    let more = "    propshaft (1.0.0)\n    rake (1.0.0)\n";
    let lock = LOCK.replace("    hello (1.0.0)\n", &format!("    hello (1.0.0)\n{more}"));
    platform.file("Gemfile", &format!("{GEMFILE}gem 'propshaft'\ngem 'rake'\n")).file("Rakefile", "");
    platform.file("Gemfile.lock", &lock.replace("  hello\n\n", "  hello\n  propshaft\n  rake\n\n"));
    for _ in 0..2 {
        let build = platform.build();
        assert!(build.ok, "{}", build.text);
        assert_eq!(platform.read("app/assets"), "assets:precompile production hello 1.0.0\n");
        platform.restore();
    }
    assert!(platform.build().text.contains("Using the gems of the last build"));
}

#[test]
fn failures_are_explained() {
    let Some(mut platform) = platform() else { return };
    platform.file("Gemfile", &format!("{GEMFILE}ruby '1.8.7'\n"));
    insta::assert_snapshot!(ours(&platform), @"
    -----> Ruby app detected
    -----> Using Ruby [RUBY]
    -----> Installing gems using 'bundle install --local'
     !     Error: Ruby 1.8.7 is not available
     !
     !     The Gemfile asks for Ruby 1.8.7, which is not the server's.
     !
     !     What to do, one of:
     !     1. Ask in the Gemfile for the version that is there.
     !     2. Install that Ruby on the server.
     !
     !     The tool's own words:
    ");
    platform.file("Gemfile", &format!("{GEMFILE}gem 'other'\n"));
    insta::assert_snapshot!(ours(&platform), @"
    -----> Ruby app detected
    -----> Using Ruby [RUBY]
    -----> Installing gems using 'bundle install --local'
     !     Error: Gemfile.lock is out of date
     !
     !     The Gemfile was changed since Gemfile.lock was written.
     !
     !     Run bundle install, commit Gemfile.lock, and push again.
     !
     !     The tool's own words:
    ");
    fs::remove_file(platform.path("app/Gemfile.lock")).unwrap();
    insta::assert_snapshot!(ours(&platform), @"
    -----> Ruby app detected
    -----> Using Ruby [RUBY]
     !     Error: No Gemfile.lock
     !
     !     Without a lock file nobody knows which versions of the gems the app works with.
     !
     !     Run bundle install, commit Gemfile.lock, and push again.
     !
     !     The tool's own words:
    ");
    platform.env.insert("PATH".to_owned(), "/nowhere".to_owned());
    insta::assert_snapshot!(ours(&platform), @"
    -----> Ruby app detected
     !     Error: No Ruby on the server
     !
     !     There is no ruby on the server's PATH.
     !
     !     Install Ruby on the server, for example: apt-get install ruby ruby-bundler
    ");
}

/// All but the tools' own words, which differ with their version.
fn ours(platform: &Platform) -> String {
    let build = platform.build();
    assert!(!build.ok, "{}", build.text);
    let ours = build.text.lines().filter(|line| !line.starts_with("  ") && !line.starts_with(" !       "));
    ours.collect::<Vec<_>>().join("\n")
}
