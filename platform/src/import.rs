//! Releases on their way in: an archive that another server has signed becomes a release without being built.

use std::fs::File;

use gitd::{Output, PublicKey};

use crate::archive::{Contents, Places, ReleaseArchive};
use crate::build::Built;
use crate::export::system;
use crate::failure::{Failure, Result};
use crate::instance::owner;
use crate::platform::Platform;
use crate::release;
use crate::store::App;

const BUILD_HERE: &str = "deploy the code instead (git push, or a tar of it), which builds it here";

impl Platform {
    /// A received archive, if it is of a release: signed by somebody who is trusted here, and for a machine like this.
    pub fn open_release(&self, file: File) -> Result<Option<ReleaseArchive>> {
        let Some(archive) = ReleaseArchive::open(file)? else { return Ok(None) };
        self.check_trust(&archive.signer)?;
        self.check_machine(&archive.contents)?;
        Ok(Some(archive))
    }

    fn check_trust(&self, signer: &PublicKey) -> Result<()> {
        if self.store.find_signer(&signer.text)?.is_some() || self.own_key()? == *signer {
            return Ok(());
        }
        Err(Failure::new(
            format!("the release is signed with a key that is not trusted here: {}", signer.fingerprint),
            "if you know that server: `releases:key` there shows its key, `releases:trust NAME` here takes it on standard input",
        ))
    }

    /// The key with which this server signs.
    pub fn own_key(&self) -> Result<PublicKey> {
        gitd::signature::public_key(&self.home.host_key()).map_err(|e| Failure::plain(e.to_string()))
    }

    fn check_machine(&self, contents: &Contents) -> Result<()> {
        let here = std::env::consts::ARCH;
        if contents.architecture != here {
            let message = format!("the release is for {}, and this server is {here}", contents.architecture);
            return Err(Failure::new(message, BUILD_HERE));
        }
        let needed = contents.manifest.toolchain.iter().chain(&contents.needs);
        let missing = needed.into_iter().find(|path| !self.toolchain.has(path));
        missing.map_or(Ok(()), |path| {
            let message = format!("the release needs {}, which this server does not have", path.display());
            Err(Failure::new(message, format!("install it there, or {BUILD_HERE}")))
        })
    }

    /// Lays the release out as a build would have left it.
    pub async fn unpack_release(&self, app: &App, archive: &ReleaseArchive, output: &Output) -> Result<Built> {
        let contents = &archive.contents;
        output.line(&format!("-----> Checking {} of {}", contents.release, contents.app)).await;
        if contents.system != system() {
            let (there, here) = (&contents.system, system());
            output.line(&format!(" !     It was built on {there}, this is {here}: compiled parts may not run")).await;
        }
        let built = self.build_directory(app)?;
        let (code, owner) = (release::code(built.path()), owner(app.id));
        let (sbom, scratch, store) = (&built.path().join(release::SBOM), &built.scratch(), &self.home.layers());
        let places = Places { code: &code, owner, sbom, scratch, store };
        let lists = tokio::task::block_in_place(|| archive.unpack(&places, output.cancelled()))?;
        let (count, layers) = (lists.code.items().len(), contents.manifest.image.layers.len());
        release::write_files(built.path(), release::CODE, &lists.code)?;
        lists.sbom.map(|files| release::write_files(built.path(), release::SBOM, &files)).transpose()?;
        built.finish(&contents.manifest)?;
        output.line(&format!("       Signature and checksums are right: code of {count} names, {layers} layers")).await;
        Ok(built)
    }
}
