//! Layers that are made once for all apps.

use std::fs;
use std::path::{Path, PathBuf};

use crate::workshop::Workshop;

/// Wants a layer with the key in the app's file `key`, and says how each run went.
const SHARING: &str = r#"echo "${AIRSTRIP_SHARED:-off}"
    key=$(cat key)
    if [ "${AIRSTRIP_SHARED:-}" != make ] && grep -q "key = \"$key\"" "$1/env.toml" 2>/dev/null; then
        printf '[types]\nlaunch = true\n[metadata]\nkey = "%s"\n' "$key" > "$1/env.toml"; exit 0
    fi
    if [ "${AIRSTRIP_SHARED:-}" = ask ]; then
        printf 'layer = "env"\nkey = "%s"\n' "$key" > "$1/.shared"; exit 75
    fi
    mkdir "$1/env"; echo "of ${AIRSTRIP_SHARED:-off}${SECRET:+ with $SECRET}" > "$1/env/content"
    printf '[types]\nlaunch = true\n[metadata]\nkey = "%s"\n' "$key" > "$1/env.toml""#;

fn shop(key: char) -> Workshop {
    let mut shop = Workshop::new();
    shop.sharing = true;
    shop.app_file("key", &key.to_string().repeat(64));
    shop.buildpack("x", "exit 0", SHARING);
    shop
}

fn said(shop: &Workshop) -> Vec<String> {
    let how = ["off", "ask", "make", "made", "found", "refused"];
    shop.printed().lines().filter(|line| how.contains(line)).map(str::to_owned).collect()
}

/// What the last step sees where the layer is kept.
fn shown(shop: &Workshop) -> Vec<PathBuf> {
    let steps = shop.sandbox.steps.lock().unwrap();
    let binds = steps.last().unwrap().binds.iter().filter(|bind| bind.target == Path::new("/cnb/kept/env"));
    binds.filter(|bind| !bind.writable).map(|bind| bind.source.clone()).collect()
}

#[tokio::test]
async fn it_is_made_once() {
    let mut shop = shop('a');
    let first = shop.build().await.unwrap();
    assert_eq!(said(&shop), ["ask", "make", "made"]);
    assert_eq!(shop.stored(&first, "env", "content"), "of make\n");
    assert_eq!(shown(&shop), [shop.path("store").join(first.layers[0].digest.as_str())], "to run something of it");
    assert_eq!(first, shop.build().await.unwrap());
    assert_eq!(said(&shop), ["ask"], "the app has it");
    fs::remove_dir_all(shop.path("cache")).unwrap();
    assert_eq!(first, shop.build().await.unwrap());
    assert_eq!(said(&shop), ["ask", "found"], "another app, of which nothing is known, finds it");
    shop.app_file("key", &"b".repeat(64));
    shop.build().await.unwrap();
    assert_eq!(said(&shop), ["ask", "make", "made"]);
}

#[tokio::test]
async fn it_is_made_again_if_the_store_lost_it() {
    let mut shop = shop('a');
    let first = shop.build().await.unwrap();
    said(&shop);
    fs::remove_dir_all(shop.path("cache")).unwrap();
    fs::remove_dir_all(shop.path("store").join(first.layers[0].digest.as_str())).unwrap();
    assert_eq!(first, shop.build().await.unwrap());
    assert_eq!(said(&shop), ["ask", "make", "made"]);
}

#[tokio::test]
async fn what_is_gone_is_forgotten() {
    let mut shop = shop('a');
    let image = shop.build().await.unwrap();
    let (shared, store) = (shop.path("shared"), shop.path("store"));
    let records = || fs::read_dir(shared.join("layers")).unwrap().count();
    builder::forget_gone(&shared, &store).unwrap();
    assert_eq!(records(), 1);
    fs::remove_dir_all(store.join(image.layers[0].digest.as_str())).unwrap();
    builder::forget_gone(&shared, &store).unwrap();
    assert_eq!(records(), 0);
}

#[tokio::test]
async fn the_app_has_no_part_in_it() {
    let mut shop = shop('a');
    shop.platform_env = vec![("SECRET".into(), "word".into())];
    let image = shop.build().await.unwrap();
    assert_eq!(shop.stored(&image, "env", "content"), "of make\n");
    let steps = shop.sandbox.steps.lock().unwrap();
    let apart = steps.iter().find(|step| step.env.contains(&("AIRSTRIP_SHARED".into(), "make".into()))).unwrap();
    let of_builds = steps.iter().find(|step| step.env.contains(&("AIRSTRIP_SHARED".into(), "ask".into()))).unwrap();
    let writable = |step: &builder::Step| {
        let binds = step.binds.iter().filter(|bind| bind.writable);
        binds.map(|bind| bind.source.clone()).collect::<Vec<_>>()
    };
    assert!(writable(of_builds).iter().all(|source| !writable(apart).contains(source)), "nothing that both can write");
    assert!(apart.owner != of_builds.owner || of_builds.owner.is_none());
}

#[tokio::test]
async fn a_claim_without_a_layer_leads_nowhere() {
    let refusing = SHARING.replace("mkdir \"$1/env\"", "test \"${AIRSTRIP_SHARED:-}\" != make; mkdir \"$1/env\"");
    let mut other_key = shop('a');
    let mut refused = shop('a');
    refused.buildpacks.clear();
    refused.buildpack("x", "exit 0", &refusing);
    let image = refused.build().await.unwrap();
    assert_eq!(said(&refused), ["ask", "make", "refused"]);
    assert_eq!(refused.stored(&image, "env", "content"), "of refused\n");
    other_key.buildpacks.clear();
    let lying = SHARING.replace("key=$(cat key)", "key=$(cat key); [ \"${AIRSTRIP_SHARED:-}\" != make ] || key=other");
    other_key.buildpack("x", "exit 0", &lying);
    other_key.build().await.unwrap();
    assert_eq!(said(&other_key), ["ask", "make", "refused"]);
}

#[tokio::test]
async fn others_buildpacks_cannot_ask() {
    let mut shop = shop('a');
    shop.sharing = false;
    shop.build().await.unwrap();
    assert_eq!(said(&shop), ["off"]);
}
