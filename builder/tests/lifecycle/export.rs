//! What of a build goes into the store, and what does not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::workshop::{Workshop, launched, names};

const VENV: &str = r#"mkdir -p "$1/venv/bin"; echo v1 > "$1/venv/bin/python"; chmod 700 "$1/venv/bin/python"
    printf '[types]\nlaunch = true\n[metadata]\nkey = "k1"\n' > "$1/venv.toml""#;

#[tokio::test]
async fn launch_layers_go_into_the_store() {
    let mut shop = Workshop::new();
    let image = shop.build_with(VENV).await.unwrap();
    let layer = &image.layers[0];
    assert_eq!((layer.buildpack.as_str(), layer.name.as_str()), ("test/x", "venv"));
    assert_eq!(layer.target.to_str(), Some("/layers/test_x/venv"));
    assert_eq!(shop.store(), [layer.digest.as_str()]);
    assert_eq!(shop.stored(&image, "venv", "bin/python"), "v1\n");
    let file = fs::metadata(shop.path("store").join(layer.digest.as_str()).join("bin/python")).unwrap();
    assert_eq!(file.permissions().mode() & 0o7777, 0o555);
    assert_eq!(file.uid(), nix::unistd::geteuid().as_raw());
    let again = shop.build_with(VENV).await.unwrap();
    assert_eq!(again, image);
    assert_eq!(shop.store().len(), 1);
}

#[tokio::test]
async fn layers_of_other_types_do_not() {
    let mut shop = Workshop::new();
    let script = r#"for name in build cache; do mkdir "$1/$name"; printf "[types]\n$name = true\n" > "$1/$name.toml.new"; done
        for name in build cache; do mv "$1/$name.toml.new" "$1/tool-$name.toml"; mv "$1/$name" "$1/tool-$name"; done
        mkdir "$1/none" "$1/undescribed"; echo > "$1/none.toml""#;
    let image = shop.build_with(script).await.unwrap();
    assert!(image.layers.is_empty() && shop.store().is_empty());
}

#[tokio::test]
async fn the_environment_of_launched_processes() {
    let mut shop = Workshop::new();
    let script = r#"mkdir -p "$1/a/bin" "$1/a/env" "$1/b/bin" "$1/b/env.launch/web" "$1/b/env.build"
        printf "from a" > "$1/a/env/NAME"; printf "A" > "$1/a/env/PATH.append"; printf ":" > "$1/a/env/PATH.delim"
        printf "only web" > "$1/b/env.launch/web/NAME.override"; printf "x" > "$1/b/env.build/NOT"
        printf "5" > "$1/b/env.launch/N.default"
        for name in a b; do printf '[types]\nlaunch = true\n' > "$1/$name.toml"; done"#;
    let image = shop.build_with(script).await.unwrap();
    let web = launched(&image, "web", &[("PATH", "/bin"), ("N", "7")]);
    assert_eq!(web["PATH"], "/layers/test_x/b/bin:/layers/test_x/a/bin:/bin:A");
    assert_eq!((web["NAME"].as_str(), web["N"].as_str(), web.get("NOT")), ("only web", "7", None));
    assert_eq!(launched(&image, "worker", &[])["NAME"], "from a");
}

#[tokio::test]
async fn what_buildpacks_write_is_not_trusted() {
    let mut shop = Workshop::new();
    let typed = r#"printf '[types]\nlaunch = true\n' > "$1/l.toml";"#;
    let cases = [
        (r#"ln -s /etc "$1/l""#, "l: is not a directory"),
        (r#"echo x > "$1/l""#, "l: is not a directory"),
        (r#"mkfifo "$1/l""#, "l: is not a directory"),
        ("true", "l.toml: the layer has no directory, now or in an earlier build"),
        (r#"mkdir "$1/l"; mkfifo "$1/l/pipe""#, "l/pipe: is neither a file, a directory nor a symbolic link"),
        (r#"mkdir "$1/l"; ln -s /etc "$1/l/env""#, "l: Not a directory (os error 20)"),
        (r#"mkdir -p "$1/l/env"; ln -s /etc/passwd "$1/l/env/A""#, "l: A is not a regular file"),
        (r#"ln -s /etc/passwd "$1/m.toml"; mkdir "$1/l""#, "m.toml: is not a regular file"),
        (r#"mkdir "$1/launch.toml" "$1/l""#, "launch.toml: is not a regular file"),
        (
            r#"mkdir "$1/l"; printf '[types]\ncache = true\n' > "$1/c.toml""#,
            "c.toml: the layer is for build or cache, but has no directory",
        ),
        (r#"mkdir "$1/l"; : > "$1/...toml""#, r#""..".toml: is not a name for a layer"#),
    ];
    for (script, expected) in cases {
        let error = shop.build_with(&format!("{typed}\n{script}")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("test/x: {expected}"), "{script}");
    }
}

#[tokio::test]
async fn links_in_layers_stay_links() {
    let mut shop = Workshop::new();
    let script = r#"mkdir "$1/l"; ln -s /etc/shadow "$1/l/out"; printf '[types]\nlaunch = true\n' > "$1/l.toml""#;
    let image = shop.build_with(script).await.unwrap();
    let link = shop.path("store").join(image.layers[0].digest.as_str()).join("out");
    assert_eq!(fs::read_link(link).unwrap().to_str(), Some("/etc/shadow"));
}

/// A build that was killed leaves things in the cache and the store; the next does not mind, and tidies the cache.
#[tokio::test]
async fn leftovers_of_killed_builds() {
    let mut shop = Workshop::new();
    let image = shop.build_with(VENV).await.unwrap();
    fs::create_dir_all(shop.path("cache/layers-dead/test_x/venv")).unwrap();
    fs::write(shop.path("cache/.tmp123"), "half").unwrap();
    fs::write(shop.path("store/unrelated"), "x").unwrap();
    assert_eq!(shop.build_with(VENV).await.unwrap(), image);
    let kept = names(&shop.path("cache"));
    assert_eq!(kept.len(), 2, "{kept:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_an_io_error() {
    let mut shop = Workshop::new();
    fs::remove_dir(shop.path("store")).unwrap();
    fs::write(shop.path("store"), "not a directory").unwrap();
    let error = shop.build_with(VENV).await.unwrap_err();
    assert!(matches!(error, builder::BuildError::Io { .. }), "{error}");
}
