//! Which buildpack builds, what it is told, and what process types come of it.

use std::fs;
use std::time::Duration;

use builder::BuildError;

use crate::workshop::Workshop;

#[tokio::test]
async fn the_first_that_passes_builds() {
    let mut shop = Workshop::new();
    shop.buildpack("ruby", "test -f Gemfile || exit 100", "exit 1");
    shop.buildpack(
        "python",
        "echo not shown; test -f requirements.txt || exit 100",
        "echo '-----> Python app detected'",
    );
    shop.buildpack("any", "exit 0", "exit 1");
    shop.app_file("requirements.txt", "");
    shop.app_file("Procfile", "web: gunicorn wsgi\nworker: python w.py\n");
    let image = shop.build().await.unwrap();
    assert_eq!(shop.steps(), ["detect test/ruby", "detect test/python", "build test/python"]);
    assert_eq!(image.buildpacks, ["test/python@1.0.0"]);
    assert_eq!(image.processes[1].argv, ["sh", "-c", "python w.py"]);
    insta::assert_snapshot!(shop.printed(), @"
    -----> Python app detected
    -----> Discovering process types
           Procfile declares types -> web, worker
    ");
}

/// The first waits for the second, which nobody would start before it has ended.
#[tokio::test]
async fn groups_that_were_tried_last_time_are_tried_at_the_same_time() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        println!("skipped: this machine has one processor");
        return;
    }
    let mut shop = Workshop::new();
    let place = shop.path("meeting");
    fs::create_dir(&place).unwrap();
    shop.give(&place);
    let meet = |own: &str, other: &str| {
        let place = place.display();
        format!("touch {place}/{own}; test ! -e again || until test -e {place}/{other}; do sleep 0.01; done")
    };
    shop.buildpack("a", &format!("{}; exit 100", meet("a", "b")), "exit 1");
    shop.buildpack("b", &meet("b", "a"), "exit 0");
    shop.buildpack("c", "exit 0", "exit 1");
    let first = shop.build().await.unwrap();
    assert_eq!(shop.steps(), ["detect test/a", "detect test/b", "build test/b"]);
    fs::remove_dir_all(&place).unwrap();
    fs::create_dir(&place).unwrap();
    shop.give(&place);
    shop.app_file("again", "");
    shop.previous = Some(first);
    assert_eq!(shop.build().await.unwrap().buildpacks, ["test/b@1.0.0"]);
    assert_eq!(shop.steps().len(), 3, "c is not asked");
}

#[tokio::test]
async fn detects_that_are_not_needed_any_more_are_ended() {
    let mut shop = Workshop::new();
    shop.buildpack("a", "test -e mine || exit 100", "exit 0");
    shop.buildpack("b", "test ! -e mine || exec sleep 86397", "exit 0");
    shop.previous = Some(shop.build().await.unwrap());
    shop.app_file("mine", "");
    assert_eq!(shop.build().await.unwrap().buildpacks, ["test/a@1.0.0"]);
    fs::remove_file(shop.path("app/mine")).unwrap();
    assert_eq!(shop.build().await.unwrap().buildpacks, ["test/b@1.0.0"], "one that was ended is asked again");
}

#[tokio::test]
async fn without_buildpacks_last_time_all_are_tried_and_the_first_counts() {
    let mut shop = Workshop::new();
    shop.app_file("Procfile", "web: ./server\n");
    for name in ["a", "b", "c"] {
        shop.buildpack(name, &format!("test -e {name} || test -e all || exit 100"), "exit 0");
    }
    shop.previous = Some(shop.build().await.unwrap());
    for (file, expected) in [("c", "test/c@1.0.0"), ("b", "test/b@1.0.0"), ("all", "test/a@1.0.0")] {
        shop.app_file(file, "");
        assert_eq!(shop.build().await.unwrap().buildpacks, [expected]);
    }
}

#[tokio::test]
async fn nothing_detected() {
    let mut shop = Workshop::new();
    shop.buildpack("python", "exit 100", "exit 1");
    assert!(matches!(shop.build().await, Err(BuildError::NothingDetected)));
    shop.app_file("Procfile", "# nothing\n");
    assert!(matches!(shop.build().await, Err(BuildError::NothingDetected)));
    assert_eq!(shop.printed(), "");
}

#[tokio::test]
async fn a_procfile_alone_is_enough() {
    let mut shop = Workshop::new();
    shop.buildpack("python", "exit 100", "exit 1");
    shop.app_file("Procfile", "web: ./server\n");
    let image = shop.build().await.unwrap();
    assert_eq!(image.processes[0].command, "./server");
    assert!(image.layers.is_empty() && image.buildpacks.is_empty());
}

#[tokio::test]
async fn a_broken_procfile_costs_no_build() {
    let mut shop = Workshop::new();
    shop.buildpack("any", "exit 0", "exit 0");
    shop.app_file("Procfile", "gunicorn wsgi\n");
    insta::assert_snapshot!(shop.build().await.unwrap_err(), @"Procfile: line 1: there is no colon; expected NAME: COMMAND, for example web: gunicorn wsgi");
    fs::remove_file(shop.path("app/Procfile")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", shop.path("app/Procfile")).unwrap();
    insta::assert_snapshot!(shop.build().await.unwrap_err(), @"Procfile: line 1: the file is not a regular file; expected a text file");
    assert!(shop.steps().is_empty());
}

#[tokio::test]
async fn a_detect_that_breaks_counts_only_if_no_other_passes() {
    let mut shop = Workshop::new();
    shop.buildpack("broken", "echo 'cannot go on' >&2; exit 3", "exit 1");
    insta::assert_snapshot!(shop.build().await.unwrap_err(), @"test/broken failed: detect exited with status 3");
    assert_eq!(shop.printed(), "cannot go on\n");
    shop.buildpack("killed", "kill -9 $$", "exit 1");
    shop.buildpack("fine", "exit 0", "exit 0");
    assert_eq!(shop.build().await.unwrap().buildpacks, ["test/fine@1.0.0"]);
}

#[tokio::test]
async fn a_failing_build() {
    let mut shop = Workshop::new();
    let error = shop.build_with("echo ' !     no such package'; exit 4").await.unwrap_err();
    insta::assert_snapshot!(error, @"test/x failed: exited with status 4");
    assert_eq!(shop.printed(), " !     no such package\n");
    let error = shop.build_with("kill -9 $$").await.unwrap_err();
    insta::assert_snapshot!(error, @"test/x failed: was killed (signal 9; did it run out of memory?)");
}

#[tokio::test]
async fn phases_are_bounded_in_time() {
    let mut shop = Workshop::new();
    shop.timeout = Duration::from_millis(200);
    let error = shop.build_with("exec sleep 600").await.unwrap_err();
    assert!(matches!(error, BuildError::TimedOut { phase: "build", .. }), "{error}");
    shop.buildpacks.clear();
    shop.buildpack("slow", "exec sleep 600", "exit 0");
    let error = shop.build().await.unwrap_err();
    assert!(matches!(error, BuildError::TimedOut { phase: "detect", .. }), "{error}");
}

#[tokio::test]
async fn what_a_buildpack_is_told() {
    let mut shop = Workshop::new();
    shop.platform_env = vec![("NPM_TOKEN".into(), "s3cret".into()), ("PATH".into(), "/opt/user/bin".into())];
    shop.buildpack(
        "x",
        r#"test "$#" = 2 && test "$2" = "$CNB_BUILD_PLAN_PATH" && test -z "${CNB_LAYERS_DIR:-}"
           printf '[[provides]]\nname="tool"\n[[requires]]\nname="tool"\n[requires.metadata]\nversion="3"\n' > "$2""#,
        r#"test "$1" = "$CNB_LAYERS_DIR" && test "$2" = "$CNB_PLATFORM_DIR" && test "$3" = "$CNB_BP_PLAN_PATH"
           cat "$3"; cat "$2/env/NPM_TOKEN"; echo
           echo "$NPM_TOKEN $PATH $OPERATOR $CNB_TARGET_OS $CNB_TARGET_DISTRO_NAME" | sed "s/$(. /etc/os-release; echo $ID)/DISTRO/"
           test -f "$CNB_BUILDPACK_DIR/buildpack.toml" && : "$CNB_TARGET_ARCH $CNB_TARGET_DISTRO_VERSION""#,
    );
    shop.build().await.unwrap();
    insta::assert_snapshot!(shop.printed(), @r#"
    [[entries]]
    name = "tool"

    [entries.metadata]
    version = "3"
    s3cret
    s3cret /opt/user/bin:/usr/bin:/bin yes linux DISTRO
    -----> Discovering process types
           Procfile declares types -> (none)
    "#);
    let steps = shop.sandbox.steps.lock().unwrap();
    let [detect, build] = &steps[..] else { panic!("{steps:?}") };
    let writable = |step: &builder::Step| {
        let binds = step.binds.iter().filter(|bind| bind.writable);
        binds.map(|bind| bind.target.display().to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((writable(detect).as_str(), detect.network), ("/cnb/plan", false));
    assert_eq!((writable(build).as_str(), build.network), ("/home/app/code /layers/test_x", true));
    assert_eq!(
        build.argv,
        ["/cnb/buildpacks/test_x/1.0.0/bin/build", "/layers/test_x", "/platform", "/cnb/plan/plan.toml"]
    );
}

/// The specification's order: the operator's own variables, the user's, build-config, the lifecycle's.
#[tokio::test]
async fn who_has_the_last_word_on_the_environment() {
    let user = |name: &str| (name.to_owned(), "user".to_owned());
    let script = r#"echo "$OPERATOR ${USER_ONLY:-none} $BOTH ${ADDED:-none} $CNB_BUILDPACK_DIR""#;
    let mut shop = Workshop::new();
    let config = shop.path("build-config");
    fs::create_dir_all(config.join("env")).unwrap();
    for (file, value) in [("BOTH", "config"), ("ADDED.append", "+config"), ("CNB_BUILDPACK_DIR", "nowhere")] {
        fs::write(config.join("env").join(file), value).unwrap();
    }
    shop.build_config = Some(config);
    shop.platform_env = ["OPERATOR", "USER_ONLY", "BOTH", "ADDED", "CNB_BUILDPACK_DIR"].map(user).into();
    shop.buildpack("x", "exit 0", script);
    shop.build().await.unwrap();
    let first_line = |shop: &Workshop| shop.printed().lines().next().unwrap().to_owned();
    let directory = shop.buildpacks[0].directory.display().to_string();
    assert_eq!(first_line(&shop), format!("user user config user+config {directory}"));
    shop.buildpacks.clear();
    shop.buildpack_described("y", "clear-env = true\n", "exit 0", &format!("{script}; cat \"$2/env/USER_ONLY\""));
    shop.build().await.unwrap();
    assert!(first_line(&shop).starts_with("yes none config +config "));
}

#[tokio::test]
async fn a_plan_that_nobody_satisfies_is_a_failed_detection() {
    let mut shop = Workshop::new();
    shop.buildpack("x", r#"printf '[[requires]]\nname="jvm"\n' > "$2""#, "exit 1");
    assert!(matches!(shop.build().await, Err(BuildError::NothingDetected)));
    shop.buildpacks.clear();
    shop.buildpack("y", r#"echo '[[requires' > "$2""#, "exit 1");
    insta::assert_snapshot!(shop.build().await.unwrap_err(), @"test/y: plan.toml: line 1: unclosed array table, expected `]]`");
}

#[tokio::test]
async fn process_types_of_a_buildpack() {
    let mut shop = Workshop::new();
    shop.app_file("Procfile", "worker: mine\n");
    let launch = r#"cat > "$1/launch.toml" <<'X'
[[processes]]
type = "web"
command = ["old"]
[[processes]]
type = "worker"
command = ["theirs"]
[[processes]]
type = "web"
command = ["python", "-c"]
args = ["print('hi')"]
default = true
working-dir = "/home/app/code/site"
X"#;
    let image = shop.build_with(launch).await.unwrap();
    let shown: Vec<_> = image.processes.iter().map(|p| format!("{}: {} {:?}", p.name, p.command, p.argv)).collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    web: python -c 'print('\''hi'\'')' ["sh", "-c", "cd -- \"$0\" && exec \"$@\"", "/home/app/code/site", "python", "-c", "print('hi')"]
    worker: mine ["sh", "-c", "mine"]
    "#);
    insta::assert_snapshot!(shop.printed(), @"
    -----> Discovering process types
           Procfile declares types -> worker
           Default types for buildpack -> web
    ");
    let fault = async |shop: &mut Workshop, text: &str| {
        shop.build_with(&format!("printf '[[processes]]\\n{text}' > \"$1/launch.toml\"")).await.unwrap_err().to_string()
    };
    insta::assert_snapshot!(fault(&mut shop, r#"type="a b"\ncommand=["x"]"#).await, @r#"test/x: launch.toml: "a b" cannot name a process type (1 to 30 letters, digits, - and _)"#);
    insta::assert_snapshot!(fault(&mut shop, r#"type="web"\ncommand="x""#).await, @"test/x: launch.toml: the command of web has the wrong type: a list since Buildpack API 0.9, a text before");
    insta::assert_snapshot!(fault(&mut shop, r#"type="web"\ncommand=[]"#).await, @"test/x: launch.toml: web has no command, or one with a NUL byte");
    insta::assert_snapshot!(fault(&mut shop, r#"type="web""#).await, @"test/x: launch.toml: line 1: missing field `command`");
}

#[tokio::test]
async fn process_types_before_api_0_9() {
    let mut shop = Workshop::new();
    let script = r#"printf '[[processes]]\ntype="web"\ncommand="run $PORT"\n[[processes]]\ntype="direct"\ncommand="run"\nargs=["$PORT"]\ndirect=true' > "$1/launch.toml""#;
    shop.buildpack_with_api("x", "0.8", "exit 0", script);
    let image = shop.build().await.unwrap();
    assert_eq!(image.processes[0].argv, ["bash", "-c", "run $PORT"]);
    assert_eq!(image.processes[1].argv, ["run", "$PORT"]);
}
