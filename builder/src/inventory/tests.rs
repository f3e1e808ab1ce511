use proptest::prelude::*;

use super::*;

fn file(content: &str, executable: bool) -> Content {
    Content::File { sha256: Sha256::digest(content).into(), size: content.len() as u64, executable }
}

fn inventory(items: &[(&[u8], Content)]) -> Inventory {
    Inventory {
        items: items.iter().map(|(path, content)| Item { path: path.to_vec(), content: content.clone() }).collect(),
    }
}

fn sample() -> Inventory {
    inventory(&[
        (b"a b", file("1", false)),
        (b"bin", Content::Directory),
        (b"bin/run\n", file("", true)),
        (b"bin/\xff", Content::Symlink(b"/usr/bin/x y".to_vec())),
        (b"bin.d", file("2", false)),
    ])
}

#[test]
fn text() {
    insta::assert_snapshot!(sample().to_text(), @r"
    airstrip tree 2
    f 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b 1 a\20b
    d bin
    x e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 bin/run\0a
    l /usr/bin/x\20y bin/\ff
    f d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35 1 bin.d
    ");
    assert_eq!(Inventory::parse(sample().to_text().as_bytes()), Ok(sample()));
    assert_eq!(Inventory::parse(HEAD.as_bytes()), Ok(Inventory::default()));
    assert_eq!(sample().bytes(), 2);
}

#[test]
fn what_is_not_written_so_is_refused() {
    let hash = "0".repeat(64);
    let cases = [
        ("", "line 1 of the list of files: is not the beginning of one"),
        ("airstrip tree 1\n", "line 1 of the list of files: is not the beginning of one"),
        ("d a", "line 1 of the list of files: is not written as it should be"),
        ("\n", "line 2 of the list of files: is of no known form"),
        ("q a\n", "line 2 of the list of files: is of no known form"),
        ("d a b\n", "line 2 of the list of files: is of no known form"),
        (&format!("f {hash} 1 a b\n"), "line 2 of the list of files: is of no known form"),
        ("f 00 1 a\n", "line 2 of the list of files: is without a SHA-256"),
        (&format!("f {hash} -1 a\n"), "line 2 of the list of files: is without a size"),
        (&format!("f {hash} 01 a\n"), "line 2 of the list of files: is not written as it should be"),
        (&format!("f {} 1 a\n", "A".repeat(64)), "line 2 of the list of files: is not written as it should be"),
        ("d a\\4\n", "line 2 of the list of files: ends within a \\"),
        ("d a\\xx\n", "line 2 of the list of files: has no two hexadecimal digits after a \\"),
        ("d \\61\n", "line 2 of the list of files: is not written as it should be"),
        ("l  a\n", "line 2 of the list of files: the target of the link is empty, too long or has a NUL byte"),
        ("d a\\00\n", "line 2 of the list of files: the path is not one of a file below a directory"),
        ("d ..\n", "line 2 of the list of files: the path is not one of a file below a directory"),
        ("d /a\n", "line 2 of the list of files: the path is not one of a file below a directory"),
        ("d a\nd a/./b\n", "line 3 of the list of files: the path is not one of a file below a directory"),
        ("d a\nd a\n", "line 3 of the list of files: the path stands twice or in the wrong place"),
        ("d b\nd a\n", "line 3 of the list of files: the path stands twice or in the wrong place"),
        ("d a.b\nd a\n", "line 3 of the list of files: the path stands twice or in the wrong place"),
        ("d a/b\n", "line 2 of the list of files: the path is in no directory"),
        ("l x a\nd a/b\n", "line 3 of the list of files: the path is in no directory"),
        ("d a\nd b\nd b/c/d\n", "line 4 of the list of files: the path is in no directory"),
    ];
    for (lines, expected) in cases {
        let text =
            if lines.starts_with("airstrip") || lines.is_empty() { lines.to_owned() } else { format!("{HEAD}{lines}") };
        assert_eq!(Inventory::parse(text.as_bytes()).unwrap_err().to_string(), expected, "{lines:?}");
    }
}

#[test]
fn differences_are_named() {
    let now = inventory(&[
        (b"a b", file("1", true)),
        (b"bin", Content::Directory),
        (b"bin/more", file("", true)),
        (b"bin/\xff", Content::Symlink(b"/usr/bin/xy".to_vec())),
        (b"bin.d", Content::Directory),
        (b"z", Content::Directory),
    ]);
    let found: Vec<String> = sample()
        .compare(&now)
        .iter()
        .map(|one| format!("{:?} {}", one.change, String::from_utf8_lossy(&one.path).escape_default()))
        .collect();
    assert_eq!(
        found,
        ["Mode a b", "Added bin/more", "Missing bin/run\\n", "Changed bin/\\u{fffd}", "Changed bin.d", "Added z"]
    );
    assert_eq!(sample().compare(&sample()), []);
}

fn any_tree() -> impl Strategy<Value = Inventory> {
    let name = prop::collection::vec(prop::sample::select(vec![b'a', b'b', b'.', b' ', b'\\', b'\n', 0xff]), 1..3);
    let name = name.prop_filter("dots", |name| name != b"." && name != b"..");
    let path = prop::collection::vec(name, 1..4);
    prop::collection::btree_set(path, 0..8).prop_map(|paths| {
        let mut all: std::collections::BTreeMap<Vec<Vec<u8>>, Content> = std::collections::BTreeMap::new();
        for path in paths {
            for end in 1..path.len() {
                all.insert(path[..end].to_vec(), Content::Directory);
            }
            all.entry(path).or_insert_with(|| file("x", false));
        }
        Inventory { items: all.into_iter().map(|(path, content)| Item { path: path.join(&b'/'), content }).collect() }
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(tree in any_tree()) {
        prop_assert_eq!(Inventory::parse(tree.to_text().as_bytes()), Ok(tree));
    }

    #[test]
    fn nothing_makes_it_panic(lines in prop::collection::vec("([dfxl] )?(0{64} )?([0-9]{1,3} )?[a/.\\\\0-9]{0,8}", 0..5)) {
        let text = format!("{HEAD}{}\n", lines.join("\n"));
        if let Ok(read) = Inventory::parse(text.as_bytes()) {
            prop_assert_eq!(read.to_text(), text);
        }
    }

    #[test]
    fn differences_say_how_to_get_from_one_to_the_other(one in any_tree(), other in any_tree()) {
        let differences = one.compare(&other);
        prop_assert_eq!(differences.is_empty(), one == other);
        let count = |change| differences.iter().filter(|one| one.change == change).count();
        prop_assert_eq!(one.items.len() + count(Change::Added), other.items.len() + count(Change::Missing));
    }
}
