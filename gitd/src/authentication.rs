//! Which keys and signatures are accepted, before the [`crate::Handler`] is asked whose they are, and what was refused.

use std::collections::HashSet;
use std::net::SocketAddr;

use russh::keys::ssh_key::{Algorithm, Error, HashAlg, PublicKey};

use crate::Login;

/// Why signatures of this kind are not accepted, if they are not.
pub(crate) fn objection(algorithm: &Algorithm) -> Option<&'static str> {
    match algorithm {
        // They can be forged for money; clients of the last ten years sign with SHA-2.
        Algorithm::Rsa { hash: None } | Algorithm::Dsa => Some("signatures with SHA-1 and DSA are not accepted"),
        // The signature says so, but russh checks nothing of that and does not hand it over.
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => Some(UNTOUCHED),
        _ => None,
    }
}

/// Of keys on FIDO tokens: whoever has got into the owner's machine can have a token sign that is plugged in there.
const UNTOUCHED: &str = "it cannot be checked that the security key was touched";

/// Who asks to come in with this key.
pub(crate) fn login(user: &str, key: &PublicKey, peer: SocketAddr) -> Result<Login, Error> {
    Ok(Login {
        user: user.to_owned(),
        key: without_comment(key)?,
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        peer,
    })
}

/// Algorithm and base64.
pub(crate) fn without_comment(key: &PublicKey) -> Result<String, Error> {
    PublicKey::from(key.key_data().clone()).to_openssh().map(|line| line.trim_end().to_owned())
}

/// What a connection has been refused. Each key is logged once, however often it is tried.
pub(crate) struct Refusals {
    peer: SocketAddr,
    /// Fingerprints.
    refused: HashSet<String>,
    password: bool,
    /// A known key that has been offered, and whose owner is to show that it is hers.
    unproven: Option<Login>,
}

impl Refusals {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self { peer, refused: HashSet::new(), password: false, unproven: None }
    }

    pub(crate) fn note(&mut self, login: &Login, reason: &str) {
        if self.refused.insert(login.fingerprint.clone()) {
            let Login { user, fingerprint, peer, .. } = login;
            tracing::warn!(%peer, user, fingerprint, reason, "authentication refused");
        }
    }

    pub(crate) fn note_password(&mut self, user: &str) {
        if !std::mem::replace(&mut self.password, true) {
            tracing::warn!(peer = %self.peer, user, reason = "passwords are not accepted", "authentication refused");
        }
    }

    pub(crate) fn known(&mut self, login: Login) {
        self.unproven = Some(login);
    }

    pub(crate) fn succeeded(&mut self) {
        self.unproven = None;
    }
}

impl Drop for Refusals {
    fn drop(&mut self) {
        if let Some(login) = self.unproven.take() {
            self.note(&login, "the key was not proven to be the client's");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha1_and_dsa_and_what_may_be_untouched_are_refused() {
        for (name, expected) in [
            ("ssh-ed25519", true),
            ("rsa-sha2-512", true),
            ("rsa-sha2-256", true),
            ("ecdsa-sha2-nistp256", true),
            ("sk-ssh-ed25519@openssh.com", false),
            ("sk-ecdsa-sha2-nistp256@openssh.com", false),
            ("ssh-rsa", false),
            ("ssh-dss", false),
        ] {
            assert_eq!(objection(&Algorithm::new(name).unwrap()).is_none(), expected, "{name}");
        }
    }

    #[test]
    fn a_login_has_the_key_without_its_comment() {
        let pair = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]);
        let line = russh::keys::PrivateKey::from(pair).public_key().to_openssh().unwrap();
        let key = PublicKey::from_openssh(&format!("{line} somebody@somewhere")).unwrap();
        assert_eq!(key.comment().as_bytes(), b"somebody@somewhere");
        let login = login("airstrip", &key, "127.0.0.1:1".parse().unwrap()).unwrap();
        assert_eq!(login.key, line);
        assert!(login.fingerprint.starts_with("SHA256:"));
    }
}
