//! Who may come in.

use super::Call;
use super::arguments::{AppRole, Form};
use super::domains;
use super::line::Access;
use crate::access::Need;
use crate::failure::{Failure, Result};
use crate::listing::Listing;
use crate::names::{AppName, KeyName};
use crate::store::{Key, Role};

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Access) -> Result<()> {
    match command {
        Access::Domains { app, form } => domains::list(call, &app, form).await,
        Access::AddDomains { app, domains } => domains::add(call, &app, domains).await,
        Access::RemoveDomains { app, domains } => domains::remove(call, &app, domains).await,
        Access::Keys(form) => list(call, form).await,
        Access::AddKey { name, app, role } => add(call, &name, app.as_ref(), role).await,
        Access::RemoveKey { name } => remove(call, &name).await,
    }
}

/// Longest text on standard input: a few keys.
const LIMIT: u64 = 64 << 10;

async fn list(call: &mut Call<'_>, form: Form) -> Result<()> {
    let columns = ["name", "app", "role", "fingerprint", "created_at"];
    let mut listing = Listing::new("Keys", columns, "None: keys:add NAME < ~/.ssh/id_ed25519.pub");
    let everything = call.actor.check(Need::Admin, None).is_ok();
    let visible = |key: &Key| everything || key.app.as_ref().is_some_and(|app| call.actor.sees(app));
    for key in call.platform.store.keys()?.into_iter().filter(visible) {
        listing.row([
            key.name.as_str().into(),
            key.app.map(|app| app.to_string()).into(),
            key.role.as_str().into(),
            key.fingerprint.into(),
            key.created_at.into(),
        ]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

async fn add(call: &mut Call<'_>, name: &KeyName, app: Option<&AppName>, role: Option<AppRole>) -> Result<()> {
    let app = app.map(|app| call.app(app)).transpose()?;
    // A key for one app gets as little as it can, unless it is said otherwise.
    let role = match (&app, role) {
        (None, _) | (Some(_), Some(AppRole::Admin)) => Role::Admin,
        (Some(_), _) => Role::Deploy,
    };
    let key = read_key(call).await?;
    call.platform.store.add_key(name, &key.text, &key.fingerprint, app.as_ref().map(|app| app.id), role)?;
    let scope = app.map_or_else(|| "everything".to_owned(), |app| app.name.to_string());
    call.console
        .print(&format!("-----> Added {name}, {} of {scope}\n       {}\n", role.as_str(), key.fingerprint))
        .await;
    Ok(())
}

/// The public key on standard input.
pub(super) async fn read_key(call: &mut Call<'_>) -> Result<gitd::PublicKey> {
    let text = call.console.read_stdin(LIMIT).await?;
    gitd::PublicKey::parse(only_line(&text)?).map_err(|e| Failure::new(e.to_string(), GIVE_A_KEY))
}

async fn remove(call: &mut Call<'_>, name: &KeyName) -> Result<()> {
    if !call.platform.store.remove_key(name)? {
        return Err(Failure::new(format!("there is no key {name}"), "see `keys`"));
    }
    call.console.print(&format!("-----> Removed {name}\n")).await;
    if !call.platform.store.keys()?.iter().any(|key| key.app.is_none()) {
        call.console
            .print(" !     No key is admin of everything now: `airstrip keys:add` on the server itself still works\n")
            .await;
    }
    Ok(())
}

const GIVE_A_KEY: &str = "give a public key on standard input: < ~/.ssh/id_ed25519.pub";

/// The one key in a `.pub` file.
fn only_line(text: &str) -> Result<&str> {
    if text.contains("PRIVATE KEY") {
        return Err(Failure::new("that is a private key, which should be shown to nobody", GIVE_A_KEY));
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line),
        (None, _) => Err(Failure::new("standard input is empty", GIVE_A_KEY)),
        (Some(_), Some(_)) => {
            Err(Failure::new("standard input holds more than one key", "add each under a name of its own"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::only_line;

    #[test]
    fn one_key_is_taken() {
        assert_eq!(only_line("\n# mine\r\n ssh-ed25519 AAAA me \r\n").unwrap(), "ssh-ed25519 AAAA me");
        for bad in ["", "# nothing", "a\nb", "-----BEGIN OPENSSH PRIVATE KEY-----\nx"] {
            assert!(only_line(bad).is_err(), "{bad:?}");
        }
    }
}
