//! Groups of several buildpacks: who takes part, and what they have of each other.

use builder::order::{Entry, Group};
use builder::{BuildError, Order};

use crate::workshop::Workshop;

/// `a b? / c`: groups parted by `/`, `?` for what is optional.
fn order(text: &str) -> Order {
    let entry = |word: &str| {
        let (name, optional) = word.strip_suffix('?').map_or((word, false), |name| (name, true));
        Entry { id: format!("test/{name}"), optional, ..Entry::default() }
    };
    Order(text.split(" / ").map(|group| Group { group: group.split(' ').map(entry).collect() }).collect())
}

fn shop(order_of: &str, buildpacks: &[(&str, &str, &str)]) -> Workshop {
    let mut shop = Workshop::new();
    shop.order = Some(order(order_of));
    for (name, detect, build) in buildpacks {
        shop.buildpack(name, detect, build);
    }
    shop
}

const PROVIDE: &str = r#"printf '[[provides]]\nname="tool"\n' > "$2""#;
const REQUIRE: &str = r#"printf '[[requires]]\nname="tool"\n[requires.metadata]\nfrom="b"\n' > "$2""#;

#[tokio::test]
async fn all_of_a_group_build_in_order() {
    let mut shop =
        shop("a b c?", &[("a", PROVIDE, "cat $3"), ("b", REQUIRE, "echo b; cat $3"), ("c", "exit 100", "exit 1")]);
    let image = shop.build().await.unwrap();
    assert_eq!(image.buildpacks, ["test/a@1.0.0", "test/b@1.0.0"]);
    insta::assert_snapshot!(shop.printed(), @r#"
    [[entries]]
    name = "tool"

    [entries.metadata]
    from = "b"
    b
    entries = []
    -----> Discovering process types
           Procfile declares types -> (none)
    "#);
}

#[tokio::test]
async fn the_first_group_that_passes_builds_and_nothing_is_detected_twice() {
    let mut shop = shop("a b / a c / d", &[("a", "", ""), ("b", "exit 100", ""), ("c", "", ""), ("d", "", "")]);
    assert_eq!(shop.build().await.unwrap().buildpacks, ["test/a@1.0.0", "test/c@1.0.0"]);
    let mut steps = shop.steps();
    steps[..2].sort();
    assert_eq!(steps, ["detect test/a", "detect test/b", "detect test/c", "build test/a", "build test/c"]);
}

#[tokio::test]
async fn detects_of_a_group_run_at_the_same_time() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        println!("skipped: this machine has one processor");
        return;
    }
    // Each waits for the other.
    let meet = |own: &str, other: &str| format!("touch {{}}/{own}; until test -e {{}}/{other}; do sleep 0.01; done");
    let mut shop = Workshop::new();
    let place = shop.path("meeting");
    std::fs::create_dir(&place).unwrap();
    shop.give(&place);
    let at = |script: String| script.replace("{}", place.to_str().unwrap());
    let (first, second) = (at(meet("a", "b")), at(meet("b", "a")));
    shop.order = Some(order("a b"));
    shop.buildpack("a", &first, "");
    shop.buildpack("b", &second, "");
    assert_eq!(shop.build().await.unwrap().buildpacks.len(), 2);
}

#[tokio::test]
async fn what_one_builds_the_next_finds_in_its_environment() {
    let first = r#"mkdir -p "$1/tool/bin" "$1/tool/env.build" "$1/other/bin"
        printf "echo from the tool" > "$1/tool/bin/tool"; chmod +x "$1/tool/bin/tool"
        printf "yes" > "$1/tool/env.build/BUILD_ONLY"
        printf '[types]\nbuild = true\n' > "$1/tool.toml"; printf '[types]\nlaunch = true\n' > "$1/other.toml""#;
    let mut shop = shop("a b", &[("a", "", first), ("b", "", r#"tool; echo "$BUILD_ONLY""#)]);
    shop.build().await.unwrap();
    assert!(shop.printed().starts_with("from the tool\nyes\n"));
}

#[tokio::test]
async fn what_a_build_leaves_unmet_the_next_provider_finds() {
    let leave = r#"printf '[[unmet]]\nname = "tool"\n' > "$1/build.toml""#;
    let both = r#"printf '[[provides]]\nname="tool"\n[[requires]]\nname="tool"\n' > "$2""#;
    let mut shop = shop("a b", &[("a", PROVIDE, leave), ("b", both, "cat $3")]);
    shop.build().await.unwrap();
    assert!(shop.printed().starts_with("[[entries]]\nname = \"tool\"\n"));
    let mut wrong = self::shop("a", &[("a", "", leave)]);
    insta::assert_snapshot!(wrong.build().await.unwrap_err(), @r#"test/a: build.toml: unmet "tool" is not in its plan"#);
}

#[tokio::test]
async fn a_composite_stands_for_its_groups() {
    let mut shop = shop("all", &[("a", "", ""), ("b", "exit 100", ""), ("c", "", "")]);
    shop.composite("all", "[[order]]\ngroup = [{ id = 'test/b', version = '1.0.0' }]\n[[order]]\ngroup = [{ id = 'test/c', version = '1.0.0' }, { id = 'test/a', version = '1.0.0' }]");
    assert_eq!(shop.build().await.unwrap().buildpacks, ["test/c@1.0.0", "test/a@1.0.0"]);
}

#[tokio::test]
async fn a_chosen_order_must_pass() {
    let mut shop = shop("a", &[("a", "exit 100", "")]);
    shop.app_file("Procfile", "web: ./server\n");
    assert!(matches!(shop.build().await, Err(BuildError::NothingDetected)));
    shop.order = Some(order("nowhere"));
    insta::assert_snapshot!(shop.build().await.unwrap_err(), @"there is no buildpack test/nowhere");
}

#[tokio::test]
async fn what_is_for_other_machines_is_not_asked() {
    let mut shop = shop("a? b", &[("b", "", "")]);
    shop.buildpack_described("a", "[[targets]]\nos = 'plan9'\n", "", "");
    assert_eq!(shop.build().await.unwrap().buildpacks, ["test/b@1.0.0"]);
    assert_eq!(shop.steps(), ["detect test/b", "build test/b"]);
}

#[tokio::test]
async fn an_explanation_tells_of_every_group() {
    let mut shop = shop(
        "a b? / c d / e / f?",
        &[
            ("a", "echo no Gemfile; exit 100", ""),
            ("b", "", ""),
            ("c", "", ""),
            ("d", REQUIRE, ""),
            ("e", "", "exit 1"),
            ("f", "echo boom; exit 3", ""),
        ],
    );
    insta::assert_snapshot!(shop.explain().await, @r#"
    test/a@1.0.0: does not want this app:
    no Gemfile
    test/b@1.0.0: wants this app
    => test/a is needed, and does not want this app
    test/c@1.0.0: wants this app
    test/d@1.0.0: wants this app
    => test/d requires "tool", which neither it nor one before it provides
    test/e@1.0.0: wants this app
    => test/e@1.0.0
    test/f@1.0.0: test/f failed: detect exited with status 3:
    boom
    => none of its buildpacks wants this app
    "#);
    assert!(shop.steps().iter().all(|step| step.starts_with("detect")));
}
