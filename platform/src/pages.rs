//! An app's own error pages: files of its release that the router shows to browsers when the app itself does not answer.
//!
//! `errors/502.html` and the like, each for the status in its name; `maintenance.html` while the app is in maintenance. They are the
//! user's: no link is followed, what is too large is left out, and nothing in them is looked at.

use std::collections::HashMap;
use std::fs::{File, symlink_metadata};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use router::Pages;

use crate::names::Version;
use crate::store::AppId;

/// The statuses of the router's own answers for an app.
const STATUSES: [u16; 6] = [408, 413, 429, 502, 503, 504];
/// Most bytes of a page.
const MOST_BYTES: u64 = 128 << 10;
/// Of a service in maintenance.
const UNAVAILABLE: u16 = 503;

/// Every app's, as its release has them: code never changes once it is there.
#[derive(Debug, Default)]
pub struct AllPages {
    apps: Mutex<HashMap<AppId, Known>>,
}

#[derive(Debug)]
struct Known {
    of: (Version, bool),
    pages: Arc<Pages>,
}

impl AllPages {
    /// The pages of an app whose code is that of `made_by`.
    pub fn of(&self, app: AppId, made_by: Version, code: &Path, maintenance: bool) -> Arc<Pages> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (made_by, maintenance);
        match apps.get(&app) {
            Some(known) if known.of == of => known.pages.clone(),
            _ => {
                let pages = Arc::new(Pages::new(read(code, maintenance)));
                apps.insert(app, Known { of, pages: pages.clone() });
                pages
            }
        }
    }

    /// The app is gone.
    pub fn forget(&self, app: AppId) {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).remove(&app);
    }
}

fn read(code: &Path, maintenance: bool) -> Vec<(u16, Vec<u8>)> {
    let errors = code.join("errors");
    let directory = symlink_metadata(&errors).is_ok_and(|found| found.is_dir());
    let of_status = |status: &u16| Some((*status, page(&errors.join(format!("{status}.html")))?));
    let mut pages: Vec<_> = STATUSES.iter().filter(|_| directory).filter_map(of_status).collect();
    if let Some(page) = page(&code.join("maintenance.html")).filter(|_| maintenance) {
        pages.retain(|(status, _)| *status != UNAVAILABLE);
        pages.push((UNAVAILABLE, page));
    }
    pages
}

/// A file that is one, and is not too large.
fn page(path: &Path) -> Option<Vec<u8>> {
    symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).ok()?;
    (bytes.len() as u64 <= MOST_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_read_and_links_and_giants_are_not() {
        let code = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| std::fs::write(code.path().join(name), text).unwrap();
        assert_eq!(read(code.path(), true), []);
        std::fs::create_dir(code.path().join("errors")).unwrap();
        write("errors/502.html", b"sorry");
        write("errors/503.html", b"busy");
        write("errors/200.html", b"no error");
        write("errors/504.html", &vec![b'x'; 200 << 10]);
        symlink("/etc/hostname", code.path().join("errors/429.html")).unwrap();
        let (sorry, busy) = ((502, b"sorry".to_vec()), (503, b"busy".to_vec()));
        assert_eq!(read(code.path(), true), [sorry.clone(), busy.clone()]);
        write("maintenance.html", b"painting");
        assert_eq!(read(code.path(), false), [sorry.clone(), busy]);
        assert_eq!(read(code.path(), true), [sorry, (503, b"painting".to_vec())]);
    }

    #[test]
    fn a_directory_that_is_a_link_is_not_entered() {
        let (code, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("502.html"), "secret").unwrap();
        symlink(outside.path(), code.path().join("errors")).unwrap();
        assert_eq!(read(code.path(), false), []);
    }
}
