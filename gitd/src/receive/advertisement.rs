//! What a pusher is told first: the refs, and what this server can do. (gitprotocol-capabilities(5))

use std::path::PathBuf;

use tokio::task::spawn_blocking;

use super::Failure;
use crate::pktline;
use crate::refs::Refs;
use crate::{ObjectId, RepositoryError};

const CAPABILITIES: &str = concat!(
    "report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta object-format=sha1 agent=airstrip/",
    env!("CARGO_PKG_VERSION")
);

/// The packets of the advertisement, and of how many refs. Push options are offered if the session knows any.
pub(super) async fn advertise(repository: PathBuf, options: &[&str]) -> Result<(Vec<u8>, usize), Failure> {
    let push_options = if options.is_empty() { "" } else { " push-options" };
    let capabilities = format!("{CAPABILITIES}{push_options}");
    Ok(spawn_blocking(move || encode(&repository, &capabilities)).await??)
}

fn encode(repository: &std::path::Path, capabilities: &str) -> Result<(Vec<u8>, usize), RepositoryError> {
    let mut lines: Vec<(ObjectId, Vec<u8>)> = Vec::new();
    for (name, id) in Refs::open(repository).all()? {
        lines.push((id, name.as_bstr().to_vec()));
    }
    let count = lines.len();
    if count == 0 {
        lines.push((ObjectId::null(gix::hash::Kind::Sha1), b"capabilities^{}".to_vec()));
    }
    let mut out = Vec::new();
    for (index, (id, name)) in lines.iter().enumerate() {
        let capabilities = if index == 0 { format!("\0{capabilities}") } else { String::new() };
        let line = [id.to_string().as_bytes(), b" ", name, capabilities.as_bytes(), b"\n"].concat();
        pktline::data(&mut out, &line);
    }
    pktline::flush(&mut out);
    Ok((out, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skeleton;

    fn shown(repository: &std::path::Path) -> String {
        let (bytes, _) = encode(repository, "CAPABILITIES").unwrap();
        String::from_utf8_lossy(&bytes).replace('\0', "\\0")
    }

    #[test]
    fn without_and_with_refs() {
        let home = tempfile::tempdir().unwrap();
        let repository = home.path().join("repo.git");
        skeleton::create(&repository).unwrap();
        insta::assert_snapshot!(shown(&repository), @r"
        004a0000000000000000000000000000000000000000 capabilities^{}\0CAPABILITIES
        0000
        ");
        let id = "1111111111111111111111111111111111111111";
        std::fs::write(repository.join("refs/heads/main"), format!("{id}\n")).unwrap();
        std::fs::write(repository.join("refs/tags/v1"), format!("{id}\n")).unwrap();
        insta::assert_snapshot!(shown(&repository), @r"
        004a1111111111111111111111111111111111111111 refs/heads/main\0CAPABILITIES
        003a1111111111111111111111111111111111111111 refs/tags/v1
        0000
        ");
    }
}
