//! Signals: numbers on Linux, names in SSH (RFC 4254, 6.9 and 6.10).

use nix::sys::signal::Signal;
use russh::Sig;

/// The number of a signal the client sent, None for a name that Linux does not know.
pub(crate) fn number(signal: &Sig) -> Option<i32> {
    let name = match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    };
    let signal: Signal = format!("SIG{name}").parse().ok()?;
    Some(signal as i32)
}

/// The name of a signal by which a command ended.
pub(crate) fn name(number: i32) -> Sig {
    let Ok(signal) = Signal::try_from(number) else { return Sig::Custom(format!("{number}@airstrip")) };
    match signal {
        Signal::SIGABRT => Sig::ABRT,
        Signal::SIGALRM => Sig::ALRM,
        Signal::SIGFPE => Sig::FPE,
        Signal::SIGHUP => Sig::HUP,
        Signal::SIGILL => Sig::ILL,
        Signal::SIGINT => Sig::INT,
        Signal::SIGKILL => Sig::KILL,
        Signal::SIGPIPE => Sig::PIPE,
        Signal::SIGQUIT => Sig::QUIT,
        Signal::SIGSEGV => Sig::SEGV,
        Signal::SIGTERM => Sig::TERM,
        Signal::SIGUSR1 => Sig::USR1,
        other => Sig::Custom(other.as_str().trim_start_matches("SIG").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_of_linux_keeps_its_number() {
        for signal in Signal::iterator() {
            assert_eq!(number(&name(signal as i32)), Some(signal as i32));
        }
    }

    #[test]
    fn nonsense_has_no_number() {
        assert_eq!(number(&Sig::Custom("NONSENSE".into())), None);
    }
}
