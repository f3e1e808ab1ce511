//! What an engine can enforce on this machine, and what it cannot, and why.

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// [`Limits::memory`](crate::Limits::memory).
    pub memory: Ability,
    /// [`Limits::cpu`](crate::Limits::cpu).
    pub cpu: Ability,
    /// [`Limits::pids`](crate::Limits::pids).
    pub pids: Ability,
    /// [`Engine::freeze`](crate::Engine::freeze).
    pub freeze: Ability,
    /// Outgoing connections as [`Egress`](crate::Egress) permits them. Without it there are none.
    pub egress: Ability,
}

/// One ability: there, or the reason why not and what to do.
pub type Ability = Result<(), String>;

impl Abilities {
    /// None of them, for one reason.
    pub fn none(reason: &str) -> Self {
        let lacking = || Err(reason.to_owned());
        Self { memory: lacking(), cpu: lacking(), pids: lacking(), freeze: lacking(), egress: lacking() }
    }

    /// What follows from each that is lacking, and the reason.
    pub fn lacking(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("limits of memory are not enforced", &self.memory),
            ("limits of processor time are not enforced", &self.cpu),
            ("limits of processes are not enforced", &self.pids),
            ("instances cannot be frozen", &self.freeze),
            ("instances have no connections to the outside", &self.egress),
        ];
        all.into_iter().filter_map(|(consequence, ability)| Some((consequence, ability.as_ref().err()?.as_str())))
    }
}
