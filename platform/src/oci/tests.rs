use std::fs;

use proptest::prelude::*;

use super::*;

fn layers(root: &Path) -> Vec<Layer> {
    fs::create_dir_all(root.join("tree/bin")).unwrap();
    fs::write(root.join("tree/bin/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("tree/bin/run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("bin/run", root.join("tree/run")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let files = runtime.block_on(builder::inventory::of_tree(root.join("tree"))).unwrap();
    let places = Layer::Places {
        directories: vec![("home".into(), 0), ("home/app".into(), 1000)],
        links: vec![("home/app/env".into(), "/layers/a/env".into())],
        texts: vec![("layers/config/image.toml".into(), "buildpacks = []".into())],
    };
    let program = file(b"a program");
    vec![
        places,
        Layer::Program { file: program, size: 9, target: "cnb/lifecycle/launcher".into() },
        Layer::Tree { tree: Tree { root: root.join("tree"), files }, target: "home/app/code".into(), owner: 1000 },
    ]
}

fn image(base: &Base) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let description =
        Description { name: "blog:v1".into(), architecture: "amd64", config: json!({ "User": "1000:1000" }) };
    let mut archive = Vec::new();
    write(&description, base, &layers(root.path()), &mut archive).unwrap();
    archive
}

fn unpacked(archive: &[u8]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    tar::Archive::new(archive).unpack(place.path()).unwrap();
    place
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn every_digest_is_of_what_it_names() {
    let place = unpacked(&image(&Base::default()));
    let read = |path: &str| serde_json::from_slice::<Value>(&fs::read(place.path().join(path)).unwrap()).unwrap();
    let blob = |descriptor: &Value| {
        let hash = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = fs::read(place.path().join(super::path(hash))).unwrap();
        assert_eq!(digest(&bytes), hash);
        assert_eq!(bytes.len() as u64, descriptor["size"].as_u64().unwrap());
        bytes
    };
    let manifest: Value = serde_json::from_slice(&blob(&read("index.json")["manifests"][0])).unwrap();
    let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
    let layers: Vec<Vec<u8>> = manifest["layers"].as_array().unwrap().iter().map(blob).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
    assert_eq!(config["rootfs"]["diff_ids"], json!(diff_ids));
    assert_eq!(read("manifest.json")[0]["RepoTags"], json!(["blog:v1"]));
    let seen: Vec<String> = layers[1..].iter().flat_map(|layer| listed(layer)).collect();
    let expected = [
        "cnb/lifecycle/launcher 755 0",
        "home/app/code 755 1000",
        "home/app/code/bin 755 1000",
        "home/app/code/bin/run 755 1000",
        "home/app/code/run 777 1000",
    ];
    assert_eq!(seen, expected);
    assert_eq!(listed(&layers[0])[3], "layers/config/image.toml 644 0");
}

/// The entries of a layer.
fn listed(layer: &[u8]) -> Vec<String> {
    tar::Archive::new(layer)
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            format!("{} {:o} {}", entry.path().unwrap().display(), header.mode().unwrap(), header.uid().unwrap())
        })
        .collect()
}

#[test]
fn equal_layers_make_an_equal_archive() {
    assert!(image(&Base::default()) == image(&Base::default()));
}

#[test]
fn an_image_can_be_the_base_of_another() {
    let first = image(&Base::default());
    let base = Base::read(&file(&first)).unwrap();
    assert_eq!(base.architecture.as_deref(), Some("amd64"));
    let second = image(&base);
    let again = Base::read(&file(&second)).unwrap();
    assert_eq!(again.diff_ids, [base.diff_ids.clone(), base.diff_ids].concat());
    // The same layers twice are written once.
    assert_eq!(tar::Archive::new(&second[..]).entries().unwrap().count(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_changed_base_makes_it_panic(at in 0..20_000_usize, flip in 1..=255_u8) {
        let mut archive = image(&Base::default());
        let at = at % archive.len();
        archive[at] ^= flip;
        let _answer = Base::read(&file(&archive));
    }
}
