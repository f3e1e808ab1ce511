//! The client's own terminal.

use std::io::{IsTerminal, stdin, stdout};

use gitd::WindowSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Passes every key on as it is typed, until it is dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _result = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether a person sits at both ends.
pub(super) fn interactive() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// The terminal's size; 80 by 24 if it does not know.
pub(super) fn size() -> WindowSize {
    let known = tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    known.map_or(WindowSize { columns: 80, rows: 24 }, |size| WindowSize { columns: size.ws_col, rows: size.ws_row })
}
