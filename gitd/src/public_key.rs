//! Public keys as users hand them over: a line of `authorized_keys` or of a `.pub` file.

use russh::keys::ssh_key::{self, HashAlg};

use crate::authentication::{objection, without_comment};

/// A public key that this server would accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Algorithm and base64, as in [`crate::Login::key`].
    pub text: String,
    /// `SHA256:…`, as OpenSSH prints it.
    pub fingerprint: String,
}

/// Not a public key that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublicKey {
    /// Not one line of algorithm, base64 and comment.
    #[error("not a public key: expected one line such as `ssh-ed25519 AAAA… name`, the content of a .pub file")]
    Malformed,
    /// The private half, which must never be handed over.
    #[error("this is a private key: keep it to yourself, and give the content of the .pub file beside it")]
    Private,
    /// An algorithm that is not accepted.
    #[error("{0} keys are not accepted ({1}): make one with `ssh-keygen -t ed25519`")]
    Algorithm(String, &'static str),
}

impl PublicKey {
    /// Reads a line; options before the key and comments after it are dropped with it.
    pub fn parse(line: &str) -> Result<Self, InvalidPublicKey> {
        let line = line.trim();
        if line.contains("PRIVATE KEY") {
            return Err(InvalidPublicKey::Private);
        }
        let key = ssh_key::PublicKey::from_openssh(line).map_err(|_| InvalidPublicKey::Malformed)?;
        // A key has no signature yet: RSA keys sign with SHA-2 later.
        if let Some(reason) = objection(&key.algorithm()).filter(|_| !key.algorithm().is_rsa()) {
            return Err(InvalidPublicKey::Algorithm(key.algorithm().to_string(), reason));
        }
        let text = without_comment(&key).map_err(|_| InvalidPublicKey::Malformed)?;
        Ok(Self { text, fingerprint: key.fingerprint(HashAlg::Sha256).to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGoTFll6elICrjlHp6taIFTGt2ZfqFbpbbzGYd+gWLmI";

    #[test]
    fn comments_and_line_ends_do_not_matter() {
        let plain = PublicKey::parse(KEY).unwrap();
        assert_eq!(plain.text, KEY);
        assert_eq!(PublicKey::parse(&format!("{KEY} me@home\r\n")).unwrap(), plain);
        assert!(plain.fingerprint.starts_with("SHA256:"));
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        for bad in ["", "hello", "ssh-ed25519", "ssh-ed25519 AAAA", &format!("{KEY}\n{KEY}")] {
            assert_eq!(PublicKey::parse(bad), Err(InvalidPublicKey::Malformed), "{bad:?}");
        }
        assert_eq!(PublicKey::parse("-----BEGIN OPENSSH PRIVATE KEY-----\n"), Err(InvalidPublicKey::Private));
    }

    #[test]
    fn security_keys_are_refused_with_the_reason() {
        let line = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAHmHVGXyr/hQPzWzNRKJ3QO0lNfJIjGzW9f3YBrRnm4AAAABHNzaDo=";
        let error = PublicKey::parse(line).unwrap_err().to_string();
        let said = "sk-ssh-ed25519@openssh.com keys are not accepted (it cannot be checked that the security key was touched): \
                    make one with `ssh-keygen -t ed25519`";
        assert_eq!(error, said);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,200}") {
            let _answer = PublicKey::parse(&text);
        }
    }
}
