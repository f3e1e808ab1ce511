//! Builds: those that were, the one under way, and those that wait for it.

use std::time::Duration;

use jiff::Timestamp;

use super::Call;
use super::arguments::Form;
use crate::failure::Result;
use crate::listing::{Cell, Listing};
use crate::names::AppName;
use crate::store::Build;

pub(super) async fn list(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let columns = ["build", "state", "release", "actor", "description", "commit", "since", "seconds", "reason"];
    let mut listing = Listing::new(format!("{name} builds"), columns, "None yet");
    for build in call.platform.store.builds(app.id)? {
        let seconds = took(&build, Timestamp::now());
        listing.row([
            build.number.into(),
            build.state.into(),
            build.release.map(|release| release.to_string()).into(),
            build.actor.into(),
            build.description.into(),
            build.commit.into(),
            build.began_at.unwrap_or(build.joined_at).into(),
            seconds,
            build.reason.into(),
        ]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

/// How long it has taken, or waits; nothing if it never began.
fn took(build: &Build, now: Timestamp) -> Cell {
    let from = match (&build.began_at, build.state.as_str()) {
        (Some(began), _) => began,
        (None, "waiting") => &build.joined_at,
        (None, _) => return Cell::Nothing,
    };
    let until = build.ended_at.as_deref().map_or(Ok(now), str::parse);
    match (from.parse::<Timestamp>(), until) {
        (Ok(from), Ok(until)) => {
            let took: Duration = until.duration_since(from).try_into().unwrap_or_default();
            Cell::Thousandths(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
        }
        _ => Cell::Nothing,
    }
}

pub(super) async fn cancel(call: &mut Call<'_>, name: &AppName, number: Option<u32>) -> Result<()> {
    let app = call.app(name)?;
    let was = call.platform.cancel_build(&app, number, &call.actor.name).await?;
    call.console.print(&format!("-----> Cancelled {was}\n")).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_builds_take() {
        let at = |second: u32| format!("2026-11-21T10:00:{second:02}.500Z");
        let build = |state: &str, began: Option<u32>, ended: Option<u32>| Build {
            number: 1,
            actor: "alice".into(),
            description: "Deploy 1a2b3c4".into(),
            commit: None,
            state: state.into(),
            joined_at: at(1),
            began_at: began.map(at),
            ended_at: ended.map(at),
            release: None,
            reason: None,
        };
        let now: Timestamp = at(20).parse().unwrap();
        assert_eq!(took(&build("waiting", None, None), now), Cell::Thousandths(19_000));
        assert_eq!(took(&build("running", Some(5), None), now), Cell::Thousandths(15_000));
        assert_eq!(took(&build("live", Some(5), Some(7)), now), Cell::Thousandths(2_000));
        assert_eq!(took(&build("cancelled", None, Some(7)), now), Cell::Nothing);
    }
}
