//! Which keys and signatures are accepted, before the [`crate::Handler`] is asked whose they are.

use std::net::SocketAddr;

use russh::keys::ssh_key::{Algorithm, Error, HashAlg, PublicKey};

use crate::Login;

/// SHA-1 signatures (`ssh-rsa`) can be forged for money; clients of the last ten years sign with SHA-2.
pub(crate) fn acceptable(algorithm: &Algorithm) -> bool {
    !matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha1_and_dsa_are_refused() {
        for (name, expected) in [
            ("ssh-ed25519", true),
            ("rsa-sha2-512", true),
            ("rsa-sha2-256", true),
            ("ecdsa-sha2-nistp256", true),
            ("sk-ssh-ed25519@openssh.com", true),
            ("ssh-rsa", false),
            ("ssh-dss", false),
        ] {
            assert_eq!(acceptable(&Algorithm::new(name).unwrap()), expected, "{name}");
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
