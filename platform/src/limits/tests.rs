use proptest::prelude::*;

use super::*;

fn limit(text: &str) -> Limit {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn amounts() {
    let cases = [
        ("memory=512M", Some(512 << 20), "memory=512M"),
        ("memory=512m", Some(512 << 20), "memory=512M"),
        ("memory=512MB", Some(512 << 20), "memory=512M"),
        ("memory=512MiB", Some(512 << 20), "memory=512M"),
        ("memory=512Mi", Some(512 << 20), "memory=512M"),
        ("memory=1536M", Some(1536 << 20), "memory=1536M"),
        ("memory=2048M", Some(2 << 30), "memory=2G"),
        ("memory=16777217B", Some((16 << 20) + 1), "memory=16777217B"),
        ("memory=none", None, "memory=none"),
        ("cpu=1.0", Some(1000), "cpu=1"),
        ("cpu=0.5", Some(500), "cpu=0.5"),
        ("cpu=1.25", Some(1250), "cpu=1.25"),
        ("cpu=0.075", Some(75), "cpu=0.075"),
        ("pids=256", Some(256), "pids=256"),
        ("log=64K", Some(64 << 10), "log=64K"),
        ("data=1024M", Some(1 << 30), "data=1G"),
        ("data=none", None, "data=none"),
        ("time=90s", Some(90), "time=90s"),
        ("time=900s", Some(900), "time=15m"),
        ("time=120m", Some(7200), "time=2h"),
        ("detect-time=1m", Some(60), "detect-time=1m"),
        ("disk=10G", Some(10 << 30), "disk=10G"),
        ("inodes=5000", Some(5000), "inodes=5000"),
    ];
    for (text, amount, shown) in cases {
        assert_eq!((limit(text).amount, limit(text).to_string().as_str()), (amount, shown), "{text}");
    }
}

#[test]
fn counted_bytes() {
    let cases =
        [(0, "0B"), (1023, "1023B"), (4096, "4.0K"), ((12 << 20) + 345_678, "12.3M"), (u64::MAX, "16777215.9T")];
    for (bytes, shown) in cases {
        assert_eq!(show_rough_bytes(bytes), shown);
    }
}

#[test]
fn what_is_no_limit() {
    for bad in [
        "memory",
        "memory=",
        "memory=512",
        "memory=15M",
        "memory=-512M",
        "memory=+512M",
        "memory=65T",
        "memory=M",
        "memory=1.5G",
        "memory=512MM",
        "memory=512X",
        "memory=512MBi",
        "memory=99999999999999999999G",
        "room=1G",
        "time=15",
        "time=0s",
        "time=25h",
        "time=1.5h",
        "time=none",
        "time=m",
        "detect_time=1m",
        "disk=none",
        "inodes=10",
        "cpu=0",
        "cpu=.5",
        "cpu=1.",
        "cpu=1.2345",
        "cpu=1e3",
        "cpu=2000",
        "pids=7",
        "pids=1M",
        "files=none",
        "files=2000000",
        "tmp=none",
        "log=1K",
        "data=1K",
        "Memory=512M",
        "=512M",
        "memory=５M",
    ] {
        assert!(bad.parse::<Limit>().is_err(), "{bad}");
    }
    let said = "memory=15M".parse::<Limit>().unwrap_err().to_string();
    assert_eq!(said, "memory=\"15M\": it is from 16M to 64T, such as memory=512M");
    let said = "time=15".parse::<Limit>().unwrap_err().to_string();
    assert_eq!(said, "time=\"15\": it is from 1s to 24h, such as time=15m");
}

#[test]
fn only_builds_have_a_time() {
    let build: ProcessType = BUILD.parse().unwrap();
    let mut settings = Settings::default();
    let before = (settings.of("web"), settings.of_builds());
    assert_eq!((before.0.get(R::Time), before.1.get(R::Time)), (None, Some(900)));
    settings.set(Some(&build), &[limit("time=20m"), limit("disk=1G")]);
    assert_eq!(settings.of("web"), before.0);
    assert_eq!((settings.of_builds().get(R::Time), settings.of_builds().get(R::Disk)), (Some(1200), Some(1 << 30)));
    assert_eq!(limit("time=20h").twice().to_string(), "time=24h");
    assert_eq!(limit("disk=3G").twice().to_string(), "disk=6G");
}

#[test]
fn the_closest_setting_holds() {
    let mut settings = Settings::default();
    let worker: ProcessType = "worker".parse().unwrap();
    settings.set(None, &[limit("memory=1G"), limit("cpu=2")]);
    settings.set(Some(&worker), &[limit("memory=128M"), limit("cpu=none")]);
    let got = |process: &str, resource| settings.of(process).get(resource);
    assert_eq!((got("web", R::Memory), got("web", R::Cpu)), (Some(1 << 30), Some(2000)));
    assert_eq!((got("worker", R::Memory), got("worker", R::Cpu)), (Some(128 << 20), None));
    assert_eq!(got("worker", R::Pids), Some(512));
    assert_eq!(settings.of_builds().get(R::Memory), Some(2 << 30));
    assert_eq!(settings.clear(Some(&worker), &[R::Memory]), None);
    assert_eq!(settings.of("worker").get(R::Memory), Some(1 << 30));
    assert_eq!(settings.clear(Some(&worker), &[R::Tmp]), Some(R::Tmp));
    settings.clear(Some(&worker), &[]);
    settings.clear(None, &[]);
    assert_eq!(settings, Settings::default());
}

#[test]
fn what_all_share_concerns_no_instance() {
    let mut settings = Settings::default();
    let before = settings.of("web");
    settings.set(None, &[limit("data=1G")]);
    assert_eq!((settings.data(), settings.of("web")), (Some(1 << 30), before.clone()));
    assert_eq!(settings.clear(None, &[R::Data]), None);
    assert_eq!((settings.data(), settings.of("web")), (None, before));
}

#[test]
fn settings_are_kept_as_json() {
    let mut settings = Settings::default();
    settings.set(Some(&"web".parse().unwrap()), &[limit("memory=64M"), limit("cpu=none")]);
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(text, r#"{"app":{},"types":{"web":{"memory":67108864,"cpu":null}}}"#);
    assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
    assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
}

#[test]
fn workers_by_processors_and_room() {
    let workers = |limits: &[&str], processors| {
        let mut settings = Settings::default();
        settings.set(None, &limits.iter().map(|text| limit(text)).collect::<Vec<_>>());
        settings.of("web").workers(processors)
    };
    assert_eq!(workers(&[], 2), 2);
    assert_eq!(workers(&[], 16), 4, "512M have room for four");
    assert_eq!(workers(&["memory=none"], 16), 8);
    assert_eq!(workers(&["memory=16M"], 16), 1);
    assert_eq!(workers(&["cpu=0.5"], 16), 1);
    assert_eq!(workers(&["cpu=1.5", "memory=2G"], 16), 2);
}

proptest! {
    #[test]
    fn any_text_is_a_limit_or_refused(text in "(memory|cpu|pids|files|tmp|code|log|data|time|detect-time|disk|inodes)?=?[0-9.]{0,22}[a-zA-Z]{0,4}\\PC{0,3}") {
        if let Ok(limit) = text.parse::<Limit>() {
            prop_assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
        }
    }

    #[test]
    fn every_amount_is_read_as_it_is_shown(resource in proptest::sample::select(R::ALL.to_vec()), amount in any::<u64>()) {
        let range = resource.range();
        let amount = range.start() + amount % (range.end() - range.start() + 1);
        let limit = Limit { resource, amount: Some(amount) };
        prop_assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
    }
}
