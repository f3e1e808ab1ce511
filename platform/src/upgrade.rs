//! `airstrip upgrade`, and SIGHUP: the program that is now at the server's own path takes the server's place, and no request
//! is lost. What the two say to each other is in [`crate::handover`]; the server's side of it in [`crate::server`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gitd::Output;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Result};
use crate::gate::Shut;
use crate::handover::Successor;
use crate::platform::Platform;

/// How long the new program may take to find out whether it could begin.
const PREPARING: Duration = Duration::from_secs(60);
/// How long pushes and changes under way have to end.
const UNDER_WAY: Duration = Duration::from_secs(300);
/// They usually end within this: longer waits are announced.
const MOMENT: Duration = Duration::from_millis(300);
/// How long what was replaced has to end: requests in flight, then the instances.
const ENDING: Duration = Duration::from_secs(90);

/// Somebody wants the server to be replaced.
#[derive(Debug)]
pub struct Request {
    /// Where progress is told.
    pub output: Output,
    /// Told the new server's process id, or why all is as before.
    pub answer: oneshot::Sender<Result<u32>>,
}

/// The program that this process runs, as it was started.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Its path is that by which it was called: a link may lead to a newer version by now.
    pub fn of_this_process() -> Result<Self> {
        let failed = |e| Failure::io("finding the server's own program", &e);
        let mut words = std::env::args_os();
        let name = words.next().map(PathBuf::from).unwrap_or_default();
        let path = match name.components().count() {
            0 => std::env::current_exe().map_err(failed)?,
            // Found in PATH, then and now.
            1 if !name.has_root() => name,
            _ => std::path::absolute(&name).map_err(failed)?,
        };
        Ok(Self { path, arguments: words.collect() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.path);
        command.args(&self.arguments);
        command
    }
}

impl Request {
    /// What SIGHUP asks for: the log tells what comes of it.
    pub fn by_signal() -> Self {
        Self { output: Output::new(CancellationToken::new()).0, answer: oneshot::channel().0 }
    }
}

impl Platform {
    /// Has a new server take the place of this one; gives its process id.
    pub async fn upgrade(&self, output: &Output) -> Result<u32> {
        let (answer, answered) = oneshot::channel();
        let request = Request { output: output.clone(), answer };
        self.upgrades.try_send(request).map_err(|_| Failure::plain("the server is being upgraded already"))?;
        answered.await.unwrap_or_else(|_| Err(Failure::plain("the server ends")))
    }

    /// Starts the new program, and when that could begin waits until nothing changes any more. Whatever fails, all is as
    /// before.
    pub async fn prepare_upgrade(&self, program: &Program, output: &Output) -> Result<(Successor, Shut)> {
        output.line(&format!("-----> Starting {}", program.path().display())).await;
        let mut successor = Successor::start(&mut program.command())?;
        successor.prepared(PREPARING).await?;
        let shut = self.let_changes_end(output).await?;
        self.let_replaced_end(output).await?;
        Ok((successor, shut))
    }

    async fn let_changes_end(&self, output: &Output) -> Result<Shut> {
        if let Some(shut) = self.gate.shut(MOMENT).await {
            return Ok(shut);
        }
        output.line("-----> Waiting for pushes and changes under way to end").await;
        self.gate.shut(UNDER_WAY).await.ok_or_else(|| {
            let message = format!("a push or a change is still under way after {} minutes", UNDER_WAY.as_secs() / 60);
            Failure::new(message, "the server goes on as it is: try again later")
        })
    }

    /// Another daemon would end at once what is on its way out here. That is not held up by who stays connected to it.
    async fn let_replaced_end(&self, output: &Output) -> Result<()> {
        self.formations.close_upgraded();
        self.endings.close();
        if tokio::time::timeout(MOMENT, self.endings.wait()).await.is_ok() {
            return Ok(());
        }
        output.line("-----> Waiting for replaced instances to end").await;
        if tokio::time::timeout(ENDING, self.endings.wait()).await.is_ok() {
            return Ok(());
        }
        self.endings.reopen();
        Err(Failure::new("replaced instances do not end", "the server goes on as it is: try again later"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_again_wherever_it_was_called_from() {
        let program = Program::of_this_process().unwrap();
        assert!(program.path().is_absolute() && program.path().exists(), "{program:?}");
    }
}
