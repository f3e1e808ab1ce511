//! Who is asking, and what they may do.

use crate::failure::{Failure, Result};
use crate::names::AppName;
use crate::store::{Key, Role};

/// Somebody with a key, or the local administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The key's name; `local` on the control socket.
    pub name: String,
    scope: Option<(AppName, Role)>,
}

/// What a command needs, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Anybody who is let in.
    Nothing,
    /// The app's `deploy` role: push, logs, ps, releases, rollback, restart.
    Deploy,
    /// The app's `admin` role: everything of one app.
    AppAdmin,
    /// Everything: apps and keys are made by these only.
    Admin,
}

impl Actor {
    /// Whoever can open the control socket.
    pub fn local() -> Self {
        Self { name: "local".into(), scope: None }
    }

    /// The holder of a key. A key whose app is gone has gone with it, so `app` is None only for keys to everything.
    pub fn holder(key: &Key) -> Self {
        Self { name: key.name.to_string(), scope: key.app.clone().map(|app| (app, key.role)) }
    }

    /// Whether this actor may see that `app` exists.
    pub fn sees(&self, app: &AppName) -> bool {
        self.scope.as_ref().is_none_or(|(own, _)| own == app)
    }

    /// Refuses what this actor may not do with `app` (None: with the server).
    pub fn check(&self, need: Need, app: Option<&AppName>) -> Result<()> {
        let allowed = match (&self.scope, need) {
            (None, _) | (_, Need::Nothing) => true,
            (Some(_), Need::Admin) => false,
            (Some((own, role)), need) => app == Some(own) && (need == Need::Deploy || *role == Role::Admin),
        };
        if allowed {
            return Ok(());
        }
        match (&self.scope, app) {
            // An app that the key does not reach looks like one that does not exist.
            (Some((own, _)), Some(app)) if app != own => Err(Failure::no_app(app.as_str())),
            _ => Err(Failure::new(
                format!("the key {} may not do that", self.name),
                "ask somebody whose key is admin of everything (see `keys`)",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(role: Option<Role>) -> Actor {
        Actor { name: "k".into(), scope: role.map(|role| ("blog".parse().unwrap(), role)) }
    }

    #[test]
    fn who_may_what() {
        let blog: AppName = "blog".parse().unwrap();
        let other: AppName = "other".parse().unwrap();
        let everything = [Need::Nothing, Need::Deploy, Need::AppAdmin, Need::Admin];
        let allowed = |actor: &Actor, app: Option<&AppName>| everything.map(|need| actor.check(need, app).is_ok());
        assert_eq!(allowed(&actor(None), Some(&other)), [true; 4]);
        assert_eq!(allowed(&actor(Some(Role::Admin)), Some(&blog)), [true, true, true, false]);
        assert_eq!(allowed(&actor(Some(Role::Deploy)), Some(&blog)), [true, true, false, false]);
        assert_eq!(allowed(&actor(Some(Role::Admin)), Some(&other)), [true, false, false, false]);
        assert_eq!(allowed(&actor(Some(Role::Admin)), None), [true, false, false, false]);
    }

    #[test]
    fn another_app_looks_like_none() {
        let refusal = actor(Some(Role::Deploy)).check(Need::Deploy, Some(&"other".parse().unwrap()));
        assert_eq!(refusal, Err(Failure::no_app("other")));
    }
}
