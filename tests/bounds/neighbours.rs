//! A build neither sees nor changes its neighbours.

use super::{PROCFILE, TREASURE, builds_by, files_with, with_blog};
use crate::harness::{App, Server};

/// Writes the treasure wherever a build can keep something.
fn keep_treasure() -> String {
    let layer = |name: &str, types: &str| {
        format!(
            "mkdir -p $1/{name}; echo {TREASURE} > $1/{name}/kept; printf '[types]\\n{types}\\n[metadata]\\nk = \"{TREASURE}\"\\n' > $1/{name}.toml"
        )
    };
    format!(
        "cat $1/cached/kept; {}; {}; echo {TREASURE} > /tmp/kept; echo {TREASURE} > code-of-mine; \
         printf '[metadata]\\nk = \"{TREASURE}\"\\n' > $1/store.toml",
        layer("cached", "cache = true"),
        layer("launched", "launch = true")
    )
}

/// Looks for it in every file that can be read, in every variable and every other process; then writes wherever it can.
const SEARCH: &str = r#"
grep -rlsI --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr treasure-471[3] / | sed 's/^/seen in /'
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2> /dev/null | tr '\0' '\n' | grep treasure-471[3] | sed 's/^/seen of a process: /'
ls -d /proc/[0-9]* | wc -l | sed 's/^/processes: /'
find / -xdev -name '*.db' -o -name '*.sock' -o -name 'ssh_host*' 2> /dev/null | sed 's/^/seen: /' | grep -v /usr/
find / -maxdepth 4 -type d -writable -not -path '/proc/*' 2> /dev/null | while read d; do echo poison > "$d/kept"; echo poison > "$d/poison"; done
find / -maxdepth 6 -type f -writable -not -path '/proc/*' -not -path '/sys/*' 2> /dev/null | while read f; do echo poison > "$f"; done
"#;

#[test]
fn a_build_neither_sees_nor_changes_its_neighbours() {
    neighbours_are_apart(&with_blog());
}

#[test]
fn for_an_ordinary_user_a_build_neither_sees_nor_changes_its_neighbours() {
    let Some(server) = Server::as_ordinary_user() else { return };
    App::probe(server.client(), "blog").push().ok();
    neighbours_are_apart(&server);
}

fn neighbours_are_apart(server: &Server) {
    let client = server.client();
    builds_by(server, "true", &keep_treasure());
    let blog = App::opened(client, "blog");
    blog.push_file("Procfile", PROCFILE).ok();
    client.airstrip(&format!("config:set blog SECRET={TREASURE}")).ok();
    client.airstrip(&format!("config:set blog --build SECRET={TREASURE}")).ok();
    client.ssh_with("blog", &["cat > data/kept"], TREASURE.as_bytes());
    let kept = || {
        let mut files = files_with(&server.home(), TREASURE);
        // The store, and the script itself.
        files
            .retain(|path| !["airstrip.db", "/buildpacks/"].iter().any(|other| path.to_string_lossy().contains(other)));
        files.sort();
        files
    };
    let before = kept();
    assert!(before.len() >= 5, "{before:?}");

    let evil = App::new(client, "evil", &[("requirements.txt", ""), ("Procfile", PROCFILE)]);
    builds_by(server, "true", &format!("{SEARCH}\necho searched; exit 1"));
    let push = evil.push();
    push.check_rejected(&["searched"]);
    let said = push.reply.err();
    assert!(!said.contains("seen"), "{said}");
    // Not an honest failure, but a success that leaves what it poisoned, too.
    builds_by(
        server,
        "true",
        &format!("{SEARCH}\nrm -rf requirements.txt; echo 'worker: sleep 86361' > Procfile; rm -f $1/*; true"),
    );
    let push = evil.push_file("note", "again");
    assert!(!push.reply.err().contains("seen"), "{}", push.reply);
    assert_eq!(kept(), before);

    builds_by(server, "true", &format!("ls $1; {}", keep_treasure()));
    let again = blog.push_file("note", "a change").ok();
    assert!(again.reply.err().contains(TREASURE), "the cache comes back as it was: {}", again.reply);
    assert!(!again.reply.err().contains("poison"), "{}", again.reply);
}

#[test]
fn a_package_that_is_built_does_not_reach_the_neighbours_environment() {
    let server = Server::start();
    let client = server.client();
    let blog = App::probe(client, "blog");
    blog.push_file("requirements.txt", "itsdangerous==2.2.0\n").ok();
    let sum = |app: &str| {
        let found = "find -L ~/env /layers -type f -path '*itsdangerous*' | sort | xargs sha256sum | sha256sum";
        client.ssh(app, &[found]).ok().line()
    };
    let before = sum("blog");
    let evil = App::probe(client, "evil");
    evil.write("requirements.txt", "itsdangerous==2.2.0\n./attack\n");
    evil.write("attack/pyproject.toml", "[build-system]\nrequires = []\nbuild-backend = 'attack'\nbackend-path = ['.']\n[project]\nname = 'attack'\nversion = '1'\n");
    evil.write("attack/attack.py", ATTACK);
    evil.commit("Build a package that looks around");
    let push = evil.push();
    assert!(push.reply.status == 0 || push.reply.err().contains("rejected]"), "{}", push.reply);
    assert_eq!(sum("blog"), before);
    blog.push_file("message", "two").ok();
    assert_eq!(sum("blog"), before);
    App::probe(client, "third").push_file("requirements.txt", "itsdangerous==2.2.0\n").ok();
    assert_eq!(sum("third"), before, "not even one that is made afterwards");
    client.ssh("third", &["python -c 'import itsdangerous; assert not hasattr(itsdangerous, \"poison\")'"]).ok();
}

/// A backend that appends to every Python file that it can write to, and then builds a package.
const ATTACK: &str = r"
import os, zipfile
def poison():
    for root in ('/layers', '/home', '/tmp', '/cnb', '/opt', '/var'):
        for directory, _, files in os.walk(root):
            for name in files:
                if name.endswith('.py') and 'itsdangerous' in directory:
                    try:
                        os.chmod(os.path.join(directory, name), 0o644)
                        with open(os.path.join(directory, name), 'a') as file:
                            file.write('\npoison = True\n')
                    except OSError:
                        pass
def build_wheel(directory, *_):
    poison()
    with zipfile.ZipFile(os.path.join(directory, 'attack-1-py3-none-any.whl'), 'w') as wheel:
        wheel.writestr('attack.py', '')
        wheel.writestr('attack-1.dist-info/METADATA', 'Metadata-Version: 2.1\nName: attack\nVersion: 1\n')
        wheel.writestr('attack-1.dist-info/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr('attack-1.dist-info/RECORD', '')
    return 'attack-1-py3-none-any.whl'
";
