//! Signatures with SSH keys, as `ssh-keygen -Y` makes and checks them: of a text, for one purpose (its namespace).

use std::path::Path;

use russh::keys::ssh_key::{self, HashAlg, LineEnding, SshSig};

use crate::{PublicKey, ServerError, host_key};

/// Longest signature that is looked at.
const LONGEST: usize = 16 << 10;

/// Why a signature counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// Not a text that `ssh-keygen -Y sign` writes.
    #[error("it is not an SSH signature")]
    Malformed,
    /// It is of something else, for something else, or was made with a key that is not what it says.
    #[error("it is not of this text, or not for this purpose")]
    Wrong,
}

/// Signs with the server's own key, which is made if there is none.
pub fn sign(host_key: &Path, namespace: &str, text: &[u8]) -> Result<String, ServerError> {
    let key = host_key::load_or_create(host_key)?;
    let signature = key.sign(namespace, HashAlg::Sha512, text).and_then(|signature| signature.to_pem(LineEnding::LF));
    signature.map_err(|error| ServerError::HostKey { path: host_key.to_owned(), reason: error.to_string() })
}

/// The public half of the server's own key, which is made if there is none.
pub fn public_key(host_key: &Path) -> Result<PublicKey, ServerError> {
    let failed = |reason: String| ServerError::HostKey { path: host_key.to_owned(), reason };
    let text = host_key::public(&host_key::load_or_create(host_key)?).map_err(|error| failed(error.to_string()))?;
    PublicKey::parse(&text).map_err(|error| failed(error.to_string()))
}

/// Checks a signature, and says whose it is: whether that key is trusted is for the caller to say.
pub fn signer(signature: &str, namespace: &str, text: &[u8]) -> Result<PublicKey, InvalidSignature> {
    if signature.len() > LONGEST {
        return Err(InvalidSignature::Malformed);
    }
    let signature = SshSig::from_pem(signature).map_err(|_| InvalidSignature::Malformed)?;
    let key = ssh_key::PublicKey::from(signature.public_key().clone());
    key.verify(namespace, text, &signature).map_err(|_| InvalidSignature::Wrong)?;
    let line = key.to_openssh().map_err(|_| InvalidSignature::Malformed)?;
    PublicKey::parse(&line).map_err(|_| InvalidSignature::Malformed)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_is_signed_is_checked() {
        let home = tempfile::tempdir().unwrap();
        let host_key = home.path().join("key");
        let signature = sign(&host_key, "letters", b"dear you").unwrap();
        assert_eq!(signer(&signature, "letters", b"dear you"), Ok(public_key(&host_key).unwrap()));
        assert_eq!(signer(&signature, "letters", b"dear me"), Err(InvalidSignature::Wrong));
        assert_eq!(signer(&signature, "bills", b"dear you"), Err(InvalidSignature::Wrong));
        assert_eq!(signer("", "letters", b"dear you"), Err(InvalidSignature::Malformed));
        assert_eq!(signer(&signature.repeat(100), "letters", b"dear you"), Err(InvalidSignature::Malformed));
    }

    /// OpenSSH's tools make and check the same.
    #[test]
    fn ssh_keygen_agrees() {
        let home = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str], input: &str| {
            std::fs::write(home.path().join("input"), input).unwrap();
            let input = std::fs::File::open(home.path().join("input")).unwrap();
            let mut command = Command::new("ssh-keygen");
            command.args(arguments).current_dir(home.path()).stdin(Stdio::from(input)).stderr(Stdio::null());
            let Ok(ended) = command.output() else {
                println!("skipped: no ssh-keygen on this machine");
                return None;
            };
            assert!(ended.status.success(), "{arguments:?}");
            Some(String::from_utf8(ended.stdout).unwrap())
        };
        let signature = sign(&home.path().join("key"), "letters", b"dear you").unwrap();
        let line = format!("me {}\n", public_key(&home.path().join("key")).unwrap().text);
        std::fs::write(home.path().join("signers"), line).unwrap();
        std::fs::write(home.path().join("letter.sig"), signature).unwrap();
        let verify = ["-Y", "verify", "-f", "signers", "-I", "me", "-n", "letters", "-s", "letter.sig"];
        if run(&verify, "dear you").is_none() {
            return;
        }
        for kind in ["ed25519", "ecdsa", "rsa"] {
            run(&["-q", "-t", kind, "-N", "", "-f", kind], "").unwrap();
            let signature = run(&["-Y", "sign", "-f", kind, "-n", "letters"], "dear you").unwrap();
            let public = std::fs::read_to_string(home.path().join(format!("{kind}.pub"))).unwrap();
            assert_eq!(signer(&signature, "letters", b"dear you"), Ok(PublicKey::parse(&public).unwrap()), "{kind}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(inside in "[A-Za-z0-9+/=\n]{0,400}") {
            let text = format!("-----BEGIN SSH SIGNATURE-----\n{inside}\n-----END SSH SIGNATURE-----\n");
            proptest::prop_assert!(signer(&text, "letters", b"").is_err());
        }
    }
}
