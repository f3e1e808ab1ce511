//! Replacing the server by another.

use super::Call;
use crate::failure::Result;

pub(super) async fn upgrade(call: &mut Call<'_>) -> Result<()> {
    let (output, text) = call.console.output();
    let pid = call.console.during(text, call.platform.upgrade(&output)).await?;
    call.console.print(&format!("=====> The new server has taken over (pid {pid})\n")).await;
    Ok(())
}
