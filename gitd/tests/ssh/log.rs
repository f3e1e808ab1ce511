//! What the servers of all tests have logged.

use std::io;
use std::sync::{Mutex, Once};

static CAPTURE: Once = Once::new();
static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// From now on the log is kept.
pub(crate) fn capture() {
    CAPTURE.call_once(|| {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false);
        log.with_writer(|| Writer).init();
    });
}

/// The lines with this text in them.
pub(crate) fn lines_with(text: &str) -> Vec<String> {
    let logged = LOGGED.lock().unwrap();
    String::from_utf8_lossy(&logged).lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
