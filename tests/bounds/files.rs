//! Odd files, names and output of builds.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{PROCFILE, TREASURE, builds_by, comes_to_nothing, files_with, with_blog};
use crate::harness::App;

#[test]
fn odd_files_of_a_build_lead_nowhere() {
    let server = with_blog();
    let outside = server.home().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("sentinel"), TREASURE).unwrap();
    let before = (fs::metadata(outside.join("sentinel")).unwrap(), fs::metadata("/etc/passwd").unwrap());
    let typed = "printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/l.toml";
    let links = format!(
        "rm -rf $1/l; mkdir -p $1/l/bin; cd $1/l; ln -s {0} up; ln -s {0}/sentinel file; ln -s ../../../../../.. dots; ln -s /proc/1/root root; \
         echo mine > one; ln one two; echo tool > bin/tool; chmod 6755 bin/tool; chmod 1777 .; \
         mknod device c 1 3 && echo made a device; ln /etc/passwd passwd && echo linked a file of the system; {typed}",
        outside.display()
    );
    let app = App::opened(server.client(), "blog");
    app.write("Procfile", PROCFILE);
    builds_by(&server, "true", &links);
    // The second build gets back what the first kept, the third begins with nothing.
    for arguments in [&["airstrip", "main"][..], &["airstrip", "main"], &["-o", "no-cache", "airstrip", "main"]] {
        app.commit("Links");
        let push = app.push_with(arguments).ok();
        assert!(!push.reply.err().contains("made a device") && !push.reply.err().contains("linked"), "{}", push.reply);
    }
    let layers = fs::read_dir(server.home().join("layers")).unwrap().map(|entry| entry.unwrap().path());
    let layer = layers.into_iter().find(|path| path.join("bin/tool").exists()).unwrap();
    assert_eq!(fs::metadata(layer.join("bin/tool")).unwrap().mode() & 0o7777, 0o555);
    assert_eq!(fs::metadata(layer.join("one")).unwrap().nlink(), 1, "nothing else is the same file");
    assert!(fs::symlink_metadata(layer.join("up")).unwrap().is_symlink());
    assert_eq!(files_with(&server.home(), TREASURE), [outside.join("sentinel")], "no link was followed");
    let after = (fs::metadata(outside.join("sentinel")).unwrap(), fs::metadata("/etc/passwd").unwrap());
    for (before, after) in [(before.0, after.0), (before.1, after.1)] {
        assert_eq!((before.uid(), before.mode(), before.mtime()), (after.uid(), after.mode(), after.mtime()));
    }
    for (script, words) in [
        (format!("ln -s {} $1/l; {typed}", outside.display()), "is not a directory"),
        (format!("ln -s /etc/passwd $1/m.toml; mkdir $1/l; {typed}"), "is not a regular file"),
        (format!("mkdir $1/l; mkfifo $1/l/pipe; {typed}"), "neither a file"),
        (
            format!(
                "mkdir $1/l; cd $1/l; for n in {{1..300}}; do mkdir d; cd d; done; {}",
                typed.replace("$1", "/layers/airstrip_python")
            ),
            "deep",
        ),
    ] {
        builds_by(&server, "true", &format!("rm -rf $1/*; {script}"));
        app.commit("Odd");
        app.push().rejected(&["build failed", words]);
    }
}

#[test]
fn names_and_output_of_a_build_forge_nothing() {
    let server = with_blog();
    let name = r"$'x\n2026-11-21T00:00:00Z  WARN forged\n !     forged\e[31m\r'";
    let script = format!(
        "printf 'plain\\n\\e[2J\\e]0;title\\a\\r !     not of airstrip\\n\\0\\xff\\xfe\\n'; rm -rf $1/*; mkdir $1/l; mkfifo $1/l/{name}; \
         printf '[types]\\nlaunch = true\\n' > $1/l.toml"
    );
    builds_by(&server, "true", &script);
    let push = comes_to_nothing(&server, &["plain", "neither a file, a directory nor a symbolic link"]);
    let ours = push.remote.iter().filter(|line| line.starts_with(" !     ") && !line.contains("not of airstrip"));
    assert!(
        !ours.clone().any(|line| line.trim_end() == " !     forged" || line.contains('\u{1b}')),
        "{:?}",
        push.remote
    );
    assert!(!server.log().lines().any(|line| line.starts_with("2026-11-21T00:00:00Z")), "{}", server.log());
    builds_by(&server, "true", "cd $1 && touch $'a\\nb.toml' && mkdir $'a\\nb'");
    comes_to_nothing(&server, &["is not a name for a layer"]);
}
