//! What the next build gets back.

use std::fs;
use std::path::PathBuf;

use crate::workshop::{Workshop, names};

/// Reuses the venv if its description is there and says `k1`; says which it did.
const REUSING: &str = r#"if grep -q 'key = "k1"' "$1/venv.toml" 2>/dev/null; then
        echo reused; test ! -d "$1/venv"; if grep -q launch "$1/venv.toml"; then exit 9; fi
    else
        echo made; mkdir "$1/venv"; echo v1 > "$1/venv/python"
    fi
    printf '[types]\nlaunch = true\n[metadata]\nkey = "k1"\n' > "$1/venv.toml""#;

/// Counts in a cached layer how often it has been used.
const COUNTING: &str = r#"mkdir -p "$1/count"; echo x >> "$1/count/uses"; grep -c x "$1/count/uses"
    printf '[types]\ncache = true\n[metadata]\nformat = 1\n' > "$1/count.toml""#;

fn said(shop: &Workshop) -> String {
    shop.printed().lines().next().unwrap_or_default().to_owned()
}

/// The one directory of cached layers.
fn cached(shop: &Workshop, below: &str) -> PathBuf {
    let cache = shop.path("cache");
    let name = names(&cache).into_iter().find(|name| name.starts_with("layers-")).unwrap();
    cache.join(name).join(below)
}

#[tokio::test]
async fn a_launch_layer_is_reused_by_its_description() {
    let mut shop = Workshop::new();
    let first = shop.build_with(REUSING).await.unwrap();
    assert_eq!(said(&shop), "made");
    shop.steps();
    let second = shop.build_with(REUSING).await.unwrap();
    assert_eq!(said(&shop), "reused");
    assert_eq!(shop.steps(), ["detect test/x", "build test/x"]);
    assert_eq!(first, second);
}

#[tokio::test]
async fn it_is_made_again_if_the_store_lost_it() {
    let mut shop = Workshop::new();
    let first = shop.build_with(REUSING).await.unwrap();
    fs::remove_dir_all(shop.path("store").join(first.layers[0].digest.as_str())).unwrap();
    assert_eq!(shop.build_with(REUSING).await.unwrap(), first);
    assert_eq!(shop.printed().matches("made").count(), 2);
    assert_eq!(shop.stored(&first, "venv", "python"), "v1\n");
}

#[tokio::test]
async fn the_previous_image_is_enough() {
    let mut shop = Workshop::new();
    let first = shop.build_with(REUSING).await.unwrap();
    fs::remove_dir_all(shop.path("cache")).unwrap();
    // It is kept with the release as JSON.
    let kept = serde_json::to_string(&first).unwrap();
    shop.previous = Some(serde_json::from_str(&kept).unwrap());
    said(&shop);
    assert_eq!(shop.build_with(REUSING).await.unwrap(), first);
    assert_eq!(said(&shop), "reused");
}

#[tokio::test]
async fn a_clean_build_gets_nothing() {
    let mut shop = Workshop::new();
    let first = shop.build_with(REUSING).await.unwrap();
    shop.previous = Some(first);
    shop.clean = true;
    said(&shop);
    shop.build_with(REUSING).await.unwrap();
    assert_eq!(said(&shop), "made");
    shop.build_with(COUNTING).await.unwrap();
    said(&shop);
    shop.build_with(COUNTING).await.unwrap();
    assert_eq!(said(&shop), "1");
}

#[tokio::test]
async fn a_cached_layer_comes_back_as_it_was_left() {
    let mut shop = Workshop::new();
    for count in ["1", "2", "3"] {
        shop.build_with(COUNTING).await.unwrap();
        assert_eq!(said(&shop), count);
    }
    assert_eq!(names(&cached(&shop, "test_x")), ["count"]);
}

#[tokio::test]
async fn a_failed_build_does_not_lose_the_cache() {
    let mut shop = Workshop::new();
    shop.build_with(COUNTING).await.unwrap();
    shop.build_with(r#"test -f "$1/count/uses"; exit 1"#).await.unwrap_err();
    shop.build_with(r#"echo broken > "$1/launch.toml""#).await.unwrap_err();
    said(&shop);
    shop.build_with(COUNTING).await.unwrap();
    assert_eq!(said(&shop), "2");
}

#[tokio::test]
async fn but_one_that_was_replacing_a_layer_does() {
    let mut shop = Workshop::new();
    shop.build_with(COUNTING).await.unwrap();
    shop.build_with(r#"printf '[metadata]\nformat = 2\n' > "$1/count.toml"; exit 1"#).await.unwrap_err();
    said(&shop);
    shop.build_with(COUNTING).await.unwrap();
    assert_eq!(said(&shop), "1");
}

#[tokio::test]
async fn a_cancelled_build_does_not_lose_the_cache() {
    let mut shop = Workshop::new();
    shop.build_with(COUNTING).await.unwrap();
    shop.timeout = std::time::Duration::from_millis(300);
    shop.build_with("exec sleep 600").await.unwrap_err();
    shop.timeout = std::time::Duration::from_secs(60);
    said(&shop);
    shop.build_with(COUNTING).await.unwrap();
    assert_eq!(said(&shop), "2");
}

/// Both in the store and changeable: the cache has its own copy, from the third build on without copying.
#[tokio::test]
async fn a_layer_for_cache_and_launch() {
    let mut shop = Workshop::new();
    let script = r#"if [ -d "$1/l" ]; then cat "$1/l/version"; else echo made; mkdir "$1/l"; echo v1 > "$1/l/version"; fi
        test -w "$1/l/version"; printf '[types]\nlaunch = true\ncache = true\n' > "$1/l.toml""#;
    let mut images = Vec::new();
    for expected in ["made", "v1", "v1"] {
        images.push(shop.build_with(script).await.unwrap());
        assert_eq!(said(&shop), expected);
    }
    assert!(images.windows(2).all(|pair| pair[0] == pair[1]));
    let changing = format!("{script}\necho v2 > \"$1/l/version\"");
    let changed = shop.build_with(&changing).await.unwrap();
    assert_eq!(shop.stored(&changed, "l", "version"), "v2\n");
    assert_eq!(shop.stored(&images[0], "l", "version"), "v1\n");
    said(&shop);
    shop.build_with(script).await.unwrap();
    assert_eq!(said(&shop), "v2");
}

#[tokio::test]
async fn a_build_layer_without_cache_does_not_come_back() {
    let mut shop = Workshop::new();
    let script = r#"ls "$1" | wc -l; mkdir "$1/l"; printf '[types]\nlaunch = true\nbuild = true\n' > "$1/l.toml""#;
    for _ in 0..2 {
        shop.build_with(script).await.unwrap();
        assert_eq!(said(&shop).trim(), "0");
    }
}

#[tokio::test]
async fn the_store_file_comes_back() {
    let mut shop = Workshop::new();
    let script = r#"cat "$1/store.toml" 2>/dev/null || echo none; printf '[metadata]\nruns = 1\nat = 1979-05-27\n' > "$1/store.toml""#;
    shop.build_with(script).await.unwrap();
    assert_eq!(said(&shop), "none");
    shop.build_with(script).await.unwrap();
    insta::assert_snapshot!(shop.printed(), @"
    [metadata]
    at = 1979-05-27
    runs = 1
    -----> Discovering process types
           Procfile declares types -> (none)
    ");
}

#[tokio::test]
async fn a_damaged_cache_is_an_empty_one() {
    let damages: [&dyn Fn(&Workshop); 7] = [
        &|shop| fs::remove_dir_all(shop.path("cache")).unwrap(),
        &|shop| fs::write(shop.path("cache/build.toml"), "directory = ").unwrap(),
        &|shop| fs::write(shop.path("cache/build.toml"), "directory = '../store'").unwrap(),
        &|shop| fs::write(shop.path("cache/build.toml"), [0xff; 100]).unwrap(),
        &|shop| fs::remove_dir_all(cached(shop, "")).unwrap(),
        &|shop| {
            fs::remove_dir_all(cached(shop, "test_x/count")).unwrap();
            fs::write(cached(shop, "test_x/count"), "a file").unwrap();
        },
        &|shop| {
            fs::remove_file(shop.path("cache/build.toml")).unwrap();
            std::os::unix::fs::symlink("/dev/zero", shop.path("cache/build.toml")).unwrap();
        },
    ];
    for (index, damage) in damages.iter().enumerate() {
        let mut shop = Workshop::new();
        shop.build_with(COUNTING).await.unwrap();
        damage(&shop);
        said(&shop);
        shop.build_with(COUNTING).await.unwrap();
        assert_eq!(said(&shop), "1", "damage {index}");
    }
}

/// A power cut may have left holes in cached directories. The store is durable, so what is known of it still counts.
#[tokio::test]
async fn after_the_machine_has_started_anew() {
    let mut shop = Workshop::new();
    let script = format!("{COUNTING}\n{REUSING}");
    shop.build_with(&script).await.unwrap();
    let file = shop.path("cache/build.toml");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(boot.trim()));
    fs::write(&file, text.replace(boot.trim(), "an earlier run")).unwrap();
    shop.printed();
    shop.build_with(&script).await.unwrap();
    assert_eq!(shop.printed().lines().take(2).collect::<Vec<_>>(), ["1", "reused"]);
}

/// `uv` links files of its cache into the environment; a later build can write to the cache.
#[tokio::test]
async fn files_shared_between_cache_and_launch_are_parted() {
    let mut shop = Workshop::new();
    let script = r#"mkdir -p "$1/cache" "$1/venv"; [ -f "$1/cache/wheel" ] || echo good > "$1/cache/wheel"
        ln "$1/cache/wheel" "$1/venv/wheel"
        printf '[types]\ncache = true\n' > "$1/cache.toml"; printf '[types]\nlaunch = true\n' > "$1/venv.toml""#;
    let image = shop.build_with(script).await.unwrap();
    shop.build_with(r#"echo evil > "$1/cache/wheel"; printf '[types]\ncache = true\n' > "$1/cache.toml""#)
        .await
        .unwrap();
    assert_eq!(shop.stored(&image, "venv", "wheel"), "good\n");
}
