//! How the app is started: what `npm start` would run, without npm.

use std::path::Path;

use super::package::Package;

/// The command line of the `web` process; None if the app does not say.
pub(super) fn command(package: &Package, app: &Path) -> Option<String> {
    let Some(start) = package.script("start") else {
        return app.join("server.js").is_file().then(|| "exec node server.js".to_owned());
    };
    let before = package.script("prestart").map_or(String::new(), |before| format!("{before} && "));
    // What npm tells its scripts only it can tell.
    if format!("{before}{start}").contains("npm_") {
        return Some("exec npm start".to_owned());
    }
    let exec = if is_simple(start) { "exec " } else { "" };
    Some(format!("{before}{exec}{start}"))
}

/// One program with its arguments, which can take the shell's place and so gets its signals.
fn is_simple(command: &str) -> bool {
    let first = command.split_whitespace().next().unwrap_or_default();
    let builtin =
        ["cd", "exec", "export", ".", "set", "ulimit", "umask", "if", "for", "while", "until", "case", "!", "{"];
    !command.contains(['&', '|', ';', '(', ')', '<', '>', '\n', '`'])
        && !first.contains('=')
        && !builtin.contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let cases = [
            (r#"{"start": "node server.js"}"#, Some("exec node server.js")),
            (r#"{"start": "NODE_ENV=production node ."}"#, Some("NODE_ENV=production node .")),
            (r#"{"start": "cd dist && node ."}"#, Some("cd dist && node .")),
            (r#"{"start": "node .", "prestart": "node migrate"}"#, Some("node migrate && exec node .")),
            (r#"{"start": "echo $npm_package_version"}"#, Some("exec npm start")),
            (r#"{"test": "x"}"#, None),
        ];
        let app = tempfile::tempdir().unwrap();
        for (scripts, expected) in cases {
            let text = format!("{{\"scripts\": {scripts}}}");
            std::fs::write(app.path().join("package.json"), text).unwrap();
            let package = Package::read(app.path()).unwrap();
            assert_eq!(command(&package, app.path()).as_deref(), expected, "{scripts}");
        }
        std::fs::write(app.path().join("server.js"), "").unwrap();
        assert_eq!(command(&Package::default(), app.path()).as_deref(), Some("exec node server.js"));
    }
}
