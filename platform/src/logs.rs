//! An app's logs: written by its instances' shims and by the platform, read by `logs`.
//!
//! Each place (`web.1`) has a file of its own, `platform.log` is the platform's, and `router.log` holds its access log, if that
//! is on; each is bounded by one rotation (`.1`). A line is `TIME TAG TEXT`, TAG being `v12:web.1:ORIGIN`; ORIGIN is
//! `airstrip` for the platform's own lines, `router` for those of the access log.
//! Shown, the files are merged by time: read backwards to find where the newest lines begin, then forwards from there,
//! so that memory stays the same however much is asked for.

mod access;
mod line;
mod merge;
mod note;
mod tail;
mod watch;

use gitd::Output;

use crate::failure::{Failure, Result};
use crate::home::AppHome;
use crate::names::{Selector, Version};

use merge::Merge;
use watch::{Change, Watch};

pub use access::{AccessFormat, AccessLog, AccessTerms};
pub use note::note;

/// What of the logs is to be shown.
#[derive(Debug, Clone)]
pub struct Query {
    /// So many of the newest lines.
    pub lines: usize,
    /// Of these processes only.
    pub which: Option<Selector>,
    /// Of this release only.
    pub release: Option<Version>,
    /// And then those that are still to come, until the output is cancelled.
    pub follow: bool,
    /// Pass colours on (to a terminal). Nothing else that controls a terminal passes, ever.
    pub colours: bool,
}

/// Shows an app's logs.
pub async fn show(app: &AppHome, query: Query, output: &Output) -> Result<()> {
    let directory = app.logs();
    let failed = |e: &std::io::Error| Failure::io("reading the logs", e);
    // Before anything is read, so that what is written meanwhile is not missed.
    let watch = if query.follow { Some(Watch::new(&directory).map_err(|e| cannot_follow(&e))?) } else { None };
    let opened = tokio::task::spawn_blocking(move || Merge::newest(directory, query)).await;
    let mut merge = opened.map_err(|_| Failure::plain("reading the logs failed"))?.map_err(|e| failed(&e))?;
    merge.pass_on(output).await.map_err(|e| failed(&e))?;
    match watch {
        Some(watch) => follow(watch, merge, output).await.map_err(|e| failed(&e)),
        None => Ok(()),
    }
}

async fn follow(watch: Watch, mut merge: Merge, output: &Output) -> std::io::Result<()> {
    while let Some(change) = output.cancelled().run_until_cancelled(watch.changed()).await {
        match change? {
            Change::Gone => break,
            Change::Lines => merge.pass_on(output).await?,
            Change::Files => {
                merge.add_new_files()?;
                merge.pass_on(output).await?;
                if !merge.forget_old_files()? {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn cannot_follow(error: &std::io::Error) -> Failure {
    Failure::new(
        format!("following the logs: {error}"),
        "leave out -f; if too many files are watched on the server, raise fs.inotify.max_user_instances",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::time::Duration;

    use tokio::sync::mpsc::Receiver;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::home::Home;

    fn app() -> (tempfile::TempDir, AppHome) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::make(directory.path()).unwrap();
        let app = home.app(&"blog".parse().unwrap());
        std::fs::create_dir_all(app.logs()).unwrap();
        (directory, app)
    }

    fn write(path: &Path, second: u32, tag: &str, text: &str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "2026-11-20T21:00:{second:02}.000Z {tag} {text}").unwrap();
    }

    fn query() -> Query {
        Query { lines: 100, which: None, release: None, follow: false, colours: false }
    }

    async fn shown(app: &AppHome, query: Query) -> String {
        let (output, mut text) = Output::new(CancellationToken::new());
        let collect = async {
            let mut all = Vec::new();
            while let Some(bytes) = text.recv().await {
                all.extend(bytes);
            }
            String::from_utf8(all).unwrap()
        };
        let work = async {
            show(app, query, &output).await.unwrap();
            drop(output);
        };
        tokio::join!(collect, work).0
    }

    fn example(app: &AppHome) {
        let logs = app.logs();
        write(&logs.join("web.1.log.1"), 1, "v1:web.1:a", "one");
        write(&logs.join("web.1.log"), 4, "v2:web.1:b", "four");
        write(&logs.join("web.2.log"), 2, "v1:web.2:c", "two");
        write(&logs.join("worker.1.log"), 3, "v1:worker.1:d", "\x1b[31mthree\x1b[0m");
        write(&logs.join("platform.log"), 5, "v2:web.1:airstrip", "five");
        std::fs::write(logs.join("odd.txt"), "not a log\n").unwrap();
        std::fs::write(logs.join("web.3.log"), "not a line\n\n2026-11-20T21:00:06.000Z v1:web.3:x torn").unwrap();
    }

    #[tokio::test]
    async fn merged_by_time() {
        let (_directory, app) = app();
        example(&app);
        insta::assert_snapshot!(shown(&app, query()).await, @r"
        2026-11-20T21:00:01.000Z app[web.1]: one
        2026-11-20T21:00:02.000Z app[web.2]: two
        2026-11-20T21:00:03.000Z app[worker.1]: three
        2026-11-20T21:00:04.000Z app[web.1]: four
        2026-11-20T21:00:05.000Z airstrip[web.1]: five
        ");
        insta::assert_snapshot!(shown(&app, Query { lines: 2, ..query() }).await, @r"
        2026-11-20T21:00:04.000Z app[web.1]: four
        2026-11-20T21:00:05.000Z airstrip[web.1]: five
        ");
        assert_eq!(shown(&app, Query { lines: 0, ..query() }).await, "");
    }

    #[tokio::test]
    async fn filtered() {
        let (_directory, app) = app();
        example(&app);
        let which = |text: &str| Query { which: Some(text.parse().unwrap()), ..query() };
        insta::assert_snapshot!(shown(&app, which("web.1")).await, @r"
        2026-11-20T21:00:01.000Z app[web.1]: one
        2026-11-20T21:00:04.000Z app[web.1]: four
        2026-11-20T21:00:05.000Z airstrip[web.1]: five
        ");
        insta::assert_snapshot!(shown(&app, which("worker")).await, @r"2026-11-20T21:00:03.000Z app[worker.1]: three");
        let release = Query { release: Some(Version(1)), lines: 2, ..query() };
        insta::assert_snapshot!(shown(&app, release).await, @r"
        2026-11-20T21:00:02.000Z app[web.2]: two
        2026-11-20T21:00:03.000Z app[worker.1]: three
        ");
    }

    #[tokio::test]
    async fn what_the_platform_notes_is_shown() {
        let (_directory, app) = app();
        note(&app, Version(3), &"web.1".parse().unwrap(), "died\nrestarting");
        let text = shown(&app, query()).await;
        let lines: Vec<&str> = text.lines().filter_map(|line| line.split_once(' ')).map(|(_, rest)| rest).collect();
        assert_eq!(lines, ["airstrip[web.1]: died", "airstrip[web.1]: restarting"]);
    }

    #[tokio::test]
    async fn the_access_log_is_a_part_of_it() {
        let (_directory, app) = app();
        example(&app);
        write(&app.access_log(), 6, "v2:router.1:router", "six");
        let which = |text: &str| Query { which: Some(text.parse().unwrap()), ..query() };
        assert!(shown(&app, query()).await.ends_with("2026-11-20T21:00:06.000Z airstrip[router]: six\n"));
        assert_eq!(shown(&app, which("router")).await, "2026-11-20T21:00:06.000Z airstrip[router]: six\n");
        assert!(!shown(&app, which("web")).await.contains("six"));
    }

    async fn next(text: &mut Receiver<Vec<u8>>) -> String {
        let bytes = tokio::time::timeout(Duration::from_secs(10), text.recv()).await.unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn followed_through_new_files_and_rotation() {
        let (_directory, app) = app();
        let web = app.logs().join("web.1.log");
        write(&web, 1, "v1:web.1:a", "one");
        let cancel = CancellationToken::new();
        let (output, mut text) = Output::new(cancel.clone());
        let following = tokio::spawn({
            let app = app.clone();
            async move { show(&app, Query { follow: true, ..query() }, &output).await }
        });
        assert!(next(&mut text).await.ends_with("app[web.1]: one\n"));
        write(&web, 2, "v1:web.1:a", "two");
        assert!(next(&mut text).await.ends_with("app[web.1]: two\n"));
        write(&app.logs().join("worker.1.log"), 3, "v1:worker.1:a", "three");
        assert!(next(&mut text).await.ends_with("app[worker.1]: three\n"));
        for round in 4..8 {
            std::fs::rename(&web, web.with_extension("log.1")).unwrap();
            write(&web, round, "v1:web.1:a", &format!("round {round}"));
            assert!(next(&mut text).await.ends_with(&format!("app[web.1]: round {round}\n")));
        }
        cancel.cancel();
        following.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn following_ends_with_the_app() {
        let (_directory, app) = app();
        write(&app.logs().join("web.1.log"), 1, "v1:web.1:a", "one");
        let (output, mut text) = Output::new(CancellationToken::new());
        let following = tokio::spawn({
            let app = app.clone();
            async move { show(&app, Query { follow: true, ..query() }, &output).await }
        });
        next(&mut text).await;
        std::fs::remove_dir_all(app.logs()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(10), following).await.unwrap().unwrap();
        assert_eq!(ended, Ok(()));
    }
}
