//! What of a build says how processes start: `launch.toml`, `exec.d`, `profile.d`; and what is in the layers.

use std::fs;

use builder::{Image, PreparationKind};

use crate::workshop::Workshop;

async fn built_with(launch: &str) -> Image {
    let mut shop = Workshop::new();
    shop.build_with(&format!("cat > \"$1/launch.toml\" <<'END'\n{launch}\nEND")).await.unwrap()
}

fn processes(image: &Image) -> String {
    let shown = image
        .processes
        .iter()
        .map(|process| format!("{}{} {:?}", process.name, if process.direct { " (direct)" } else { "" }, process.argv));
    shown.collect::<Vec<_>>().join("\n")
}

/// After the reference lifecycle's `builder_test.go`.
#[tokio::test]
async fn all_that_launch_toml_may_say() {
    let image = built_with(
        "[[labels]]\nkey = 'a'\nvalue = 'b'\n[[slices]]\npaths = ['static/*']\n
         [[processes]]\ntype = 'sys'\ncommand = ['uname']\nargs = ['-a']\n
         [[processes]]\ntype = 'test'\ncommand = ['pytest']\nexec-env = ['test']\n
         [[processes]]\ntype = 'hello'\ncommand = ['echo', 'hello']\ndefault = true",
    )
    .await;
    insta::assert_snapshot!(processes(&image), @r#"
    sys (direct) ["uname", "-a"]
    hello (direct) ["echo", "hello"]
    web (direct) ["echo", "hello"]
    "#);
}

#[tokio::test]
async fn the_default_process_is_web_if_nobody_names_one() {
    let one =
        |name: &str, default: bool| format!("[[processes]]\ntype='{name}'\ncommand=['{name}']\ndefault={default}\n");
    let cases = [
        (vec![one("a", true), one("b", true)], "a b web=b"),
        (vec![one("a", true), one("b", false)], "a b web=a"),
        (vec![one("a", false), one("b", false)], "a b"),
        (vec![one("a", true), one("a", false)], "a"),
        (vec![one("a", true), one("web", false)], "a web=web"),
    ];
    for (entries, expected) in cases {
        let image = built_with(&entries.concat()).await;
        let shown = image.processes.iter().map(|process| match process.name.as_str() {
            "web" => format!("web={}", process.command),
            name => name.to_owned(),
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{entries:?}");
    }
    let mut shop = Workshop::new();
    shop.app_file("Procfile", "worker: w\n");
    let image = shop.build_with(&format!("echo \"{}\" > \"$1/launch.toml\"", one("a", true))).await.unwrap();
    assert_eq!(image.processes.len(), 2, "a Procfile without web is legal");
}

#[tokio::test]
async fn process_types_with_names_that_are_none_here_are_left_out() {
    let mut shop = Workshop::new();
    let launch = r#"printf '[[processes]]\ntype = "a.b"\ncommand = ["x"]\n[[processes]]\ntype = "ab"\ncommand = ["x"]\n' > "$1/launch.toml""#;
    assert_eq!(shop.build_with(launch).await.unwrap().processes.len(), 1);
    insta::assert_snapshot!(shop.printed(), @"
    -----> Discovering process types
           Procfile declares types -> (none)
           Default types for buildpack -> ab
     !     a.b of test/x is left out: process types have 1 to 30 letters, digits, - and _
    ");
}

#[tokio::test]
async fn bills_of_material_of_the_old_form_are_left_out_with_a_note() {
    for file in ["launch", "build"] {
        let mut shop = Workshop::new();
        let build = format!(r#"printf '[[bom]]\nname = "x"\n[bom.metadata]\nversion = "1"\n' > "$1/{file}.toml""#);
        shop.build_with(&build).await.unwrap();
        let note = " !     [[bom]] of test/x is left out: since Buildpack API 0.7 bills of material are files, such as LAYER.sbom.cdx.json\n";
        assert!(shop.printed().starts_with(note), "{}", shop.printed());
    }
}

#[tokio::test]
async fn commands_before_api_0_9_are_lines_for_bash() {
    let mut shop = Workshop::new();
    let launch = r#"printf '[[processes]]\ntype = "a"\ncommand = "echo $X"\n[[processes]]\ntype = "b"\ncommand = "echo"\nargs = ["$X", "a  b"]\n[[processes]]\ntype = "c"\ncommand = "echo"\nargs = ["$X"]\ndirect = true\n' > "$1/launch.toml""#;
    shop.buildpack_with_api("old", "0.8", "", launch);
    let image = shop.build().await.unwrap();
    let run = |index: usize| {
        let argv = &image.processes[index].argv;
        let output = std::process::Command::new(&argv[0]).args(&argv[1..]).env("X", "x  y").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!((run(0).as_str(), run(1).as_str(), run(2).as_str()), ("x y\n", "x  y a b\n", "$X\n"));
    assert_eq!(image.processes.iter().map(|process| process.direct).collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test]
async fn preparations_are_found_in_launch_layers_and_in_the_app() {
    let mut shop = Workshop::new();
    shop.app_file(".profile", "export A=1\n");
    let script = r#"for layer in b a unused; do
        mkdir -p "$1/$layer/exec.d/worker" "$1/$layer/profile.d/web"
        touch "$1/$layer/exec.d/2" "$1/$layer/exec.d/1" "$1/$layer/exec.d/worker/3" "$1/$layer/profile.d/web/4.sh"
        ln -s /nowhere "$1/$layer/profile.d/5.sh"
        printf '[types]\nlaunch = true\n' > "$1/$layer.toml"; done
        printf '[types]\nbuild = true\n' > "$1/unused.toml""#;
    let image = shop.build_with(script).await.unwrap();
    let shown = image.preparations.iter().map(|found| {
        let kind = if found.kind == PreparationKind::Program { "run" } else { "read" };
        format!("{kind} {} {}", found.path.display(), found.process.as_deref().unwrap_or_default())
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @"
    run /layers/test_x/a/exec.d/1 
    run /layers/test_x/a/exec.d/2 
    run /layers/test_x/a/exec.d/worker/3 worker
    run /layers/test_x/b/exec.d/1 
    run /layers/test_x/b/exec.d/2 
    run /layers/test_x/b/exec.d/worker/3 worker
    read /layers/test_x/a/profile.d/5.sh 
    read /layers/test_x/a/profile.d/web/4.sh web
    read /layers/test_x/b/profile.d/5.sh 
    read /layers/test_x/b/profile.d/web/4.sh web
    read /home/app/code/.profile 
    ");
    let kept = serde_json::to_string(&image).unwrap();
    assert_eq!(serde_json::from_str::<Image>(&kept).unwrap(), image);
}

#[tokio::test]
async fn an_image_without_preparations_does_not_speak_of_them() {
    let mut shop = Workshop::new();
    fs::create_dir(shop.path("app/.profile")).unwrap();
    let image = shop.build_with("true").await.unwrap();
    assert!(!serde_json::to_string(&image).unwrap().contains("preparations"));
}

#[tokio::test]
async fn bills_of_material_are_kept_and_come_back_with_their_layers() {
    let mut shop = Workshop::new();
    let script = r#"for name in launch build venv tool; do echo "{\"of\": \"$name\"}" > "$1/$name.sbom.cdx.json"; done
        echo '{}' > "$1/launch.sbom.unknown.json"; echo '{}' > "$1/nothing.sbom.cdx.json"
        mkdir "$1/venv" "$1/tool"; printf '[types]\nlaunch = true\n' > "$1/venv.toml"; printf '[types]\nbuild = true\n' > "$1/tool.toml""#;
    shop.previous = Some(shop.build_with(script).await.unwrap());
    let kept = |file: &str| fs::read_to_string(shop.path("sbom").join(file)).unwrap();
    assert_eq!(kept("launch/test_x/sbom.cdx.json"), "{\"of\": \"launch\"}\n");
    assert_eq!(kept("build/test_x/sbom.cdx.json"), "{\"of\": \"build\"}\n");
    assert_eq!(kept("launch/test_x/venv/sbom.cdx.json"), "{\"of\": \"venv\"}\n");
    assert_eq!(kept("build/test_x/tool/sbom.cdx.json"), "{\"of\": \"tool\"}\n");
    let reuse = r#"cat "$1/venv.sbom.cdx.json"; test ! -e "$1/tool.sbom.cdx.json"; printf '[types]\nlaunch = true\n' > "$1/venv.toml""#;
    shop.build_with(reuse).await.unwrap();
    assert!(shop.printed().contains("{\"of\": \"venv\"}\n"));
    let error = shop.build_with(r#"ln -s /etc/passwd "$1/launch.sbom.cdx.json""#).await.unwrap_err();
    insta::assert_snapshot!(error, @"test/x: launch.sbom.cdx.json: is not a regular file");
}
