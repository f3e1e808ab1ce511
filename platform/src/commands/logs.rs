//! `logs`.

use super::Call;
use super::arguments::Query;
use crate::failure::Result;
use crate::logs;
use crate::names::AppName;

pub(super) async fn show(call: &mut Call<'_>, name: &AppName, query: Query) -> Result<()> {
    let app = call.app(name)?;
    let query = logs::Query {
        lines: query.num,
        which: query.process,
        release: query.release,
        follow: query.follow,
        colours: call.console.colours(),
    };
    let (output, text) = call.console.output();
    let home = call.platform.home.app(&app.name);
    call.console.during(text, logs::show(&home, query, &output)).await
}
