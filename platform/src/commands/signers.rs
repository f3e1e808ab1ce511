//! Releases of other servers: whose are taken, and how this one's are known.

use super::Call;
use super::arguments::Form;
use super::keys::read_key;
use crate::failure::{Failure, Result};
use crate::listing::Listing;
use crate::names::KeyName;

pub(super) async fn key(call: &mut Call<'_>) -> Result<()> {
    let key = call.platform.own_key()?;
    call.console.print(&format!("{} airstrip@{}\n", key.text, call.platform.address.domain)).await;
    Ok(())
}

pub(super) async fn list(call: &mut Call<'_>, form: Form) -> Result<()> {
    let columns = ["name", "fingerprint", "created_at"];
    let empty = "None but this server itself: releases:trust NAME < key.pub";
    let mut listing = Listing::new("Trusted signers of releases", columns, empty);
    for signer in call.platform.store.signers()? {
        listing.row([signer.name.as_str().into(), signer.fingerprint.into(), signer.created_at.into()]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

pub(super) async fn trust(call: &mut Call<'_>, name: &KeyName) -> Result<()> {
    let key = read_key(call).await?;
    call.platform.store.add_signer(name, &key)?;
    let said = format!("-----> Releases signed by {name} can be deployed here\n       {}\n", key.fingerprint);
    call.console.print(&said).await;
    Ok(())
}

pub(super) async fn distrust(call: &mut Call<'_>, name: &KeyName) -> Result<()> {
    if !call.platform.store.remove_signer(name)? {
        return Err(Failure::new(format!("there is no signer {name}"), "see `releases:trusted`"));
    }
    call.console.print(&format!("-----> Releases signed by {name} are refused from now on\n")).await;
    Ok(())
}
