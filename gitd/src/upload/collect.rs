//! Which objects a client lacks. Blocking.

use std::collections::HashMap;
use std::time::Duration;

use gix::hashtable::HashSet;
use gix::objs::{CommitRefIter, Kind, TagRefIter, TreeRefIter};

use super::Plan;
use super::walk::{Found, History};
use crate::objects::Objects;
use crate::packing::{Contents, name_hash};
use crate::{ObjectId, fork};

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
/// How long new deltas are looked for.
const SEARCH: Duration = Duration::from_secs(10);
/// Fewer commits are not worth a second thread.
const SPLIT: usize = 500;
/// Tags of tags of tags.
const TAGS: usize = 16;

/// The object itself and, for a tag, what it leads to, one after the other.
pub(super) fn peel(objects: &Objects, id: ObjectId) -> Result<Vec<ObjectId>, gix::Error> {
    let mut chain = vec![id];
    let mut content = Vec::new();
    let mut last = id;
    while objects.kind(last) == Some(Kind::Tag) && chain.len() <= TAGS {
        objects.read(last, &mut content)?;
        last = TagRefIter::from_bytes(&content, SHA1).target_id()?;
        chain.push(last);
    }
    Ok(chain)
}

/// Everything that `plan` needs. `tags` are all tags, for those that follow their commits.
pub(super) fn missing(objects: &Objects, plan: &Plan, tags: &[ObjectId]) -> Result<Contents, gix::Error> {
    let blob_limit = plan.asked.blob_limit;
    let mut collector = Collector::new(objects.clone(), blob_limit, HashSet::default());
    for commit in plan.common.iter().chain(&plan.shallow.no_longer) {
        let tree = collector.tree_of(*commit)?;
        collector.add_tree(tree)?;
    }
    let known = std::mem::take(&mut collector.found);
    let mut tips = plan.shallow.parents.clone();
    for want in &plan.asked.wants {
        tips.extend(collector.add_chain(*want)?);
    }
    collector.add_history(&tips, plan)?;
    for tag in tags.iter().filter(|_| plan.asked.include_tags) {
        let chain = peel(objects, *tag)?;
        if chain.last().is_some_and(|commit| collector.seen.contains(commit)) {
            collector.add_chain(*tag)?;
        }
    }
    // A partial clone may lack any blob that its commits lead to.
    let known = if plan.asked.thin && blob_limit.is_none() { known.into_iter().collect() } else { HashMap::new() };
    Ok(Contents { objects: collector.found, known, distances: plan.asked.distances, search: SEARCH })
}

struct Collector {
    objects: Objects,
    blob_limit: Option<u64>,
    seen: HashSet<ObjectId>,
    /// With [`name_hash`].
    found: Vec<(ObjectId, u32)>,
    content: Vec<u8>,
}

impl Collector {
    fn new(objects: Objects, blob_limit: Option<u64>, seen: HashSet<ObjectId>) -> Self {
        Self { objects, blob_limit, seen, found: Vec::new(), content: Vec::new() }
    }

    /// Tags on the way to a commit, which is returned; a tag of a tree or blob with all of it.
    fn add_chain(&mut self, id: ObjectId) -> Result<Option<ObjectId>, gix::Error> {
        let mut commit = None;
        for id in peel(&self.objects, id)? {
            match self.objects.kind(id) {
                Some(Kind::Commit) => commit = Some(id),
                Some(Kind::Tree) => self.add_tree(id)?,
                _ => _ = self.add(id, 0),
            }
        }
        Ok(commit)
    }

    /// The commits that the client lacks, with their trees.
    fn add_history(&mut self, tips: &[ObjectId], plan: &Plan) -> Result<(), gix::Error> {
        let commits = History::new(&self.objects).between(tips, &plan.common, &plan.shallow.cut)?;
        self.add_commits(&commits)
    }

    /// Many on two threads, to the same end as on one: what both find is where the first found it.
    fn add_commits(&mut self, commits: &[Found]) -> Result<(), gix::Error> {
        if commits.len() < SPLIT {
            return self.add_each(commits);
        }
        let (newer, older) = commits.split_at(commits.len() / 2);
        let mut other = Collector::new(self.objects.clone(), self.blob_limit, self.seen.clone());
        let (done, others) = fork::join(|| self.add_each(newer), || other.add_each(older));
        done.and(others)?;
        for (id, path) in other.found {
            self.add(id, path);
        }
        Ok(())
    }

    fn add_each(&mut self, commits: &[Found]) -> Result<(), gix::Error> {
        for commit in commits {
            if self.add(commit.id, 0) {
                self.add_tree(commit.tree)?;
            }
        }
        Ok(())
    }

    fn add_tree(&mut self, root: ObjectId) -> Result<(), gix::Error> {
        let mut waiting = vec![(root, 0)];
        while let Some((tree, path)) = waiting.pop() {
            if self.add(tree, path) {
                let below = if tree == root { 0 } else { name_hash(path, b"/") };
                let mut content = std::mem::take(&mut self.content);
                self.objects.read(tree, &mut content)?;
                self.add_entries(&content, below, &mut waiting)?;
                self.content = content;
            }
        }
        Ok(())
    }

    /// The blobs of a tree whose path has this hash; its trees are put to those that wait.
    fn add_entries(&mut self, tree: &[u8], below: u32, waiting: &mut Vec<(ObjectId, u32)>) -> Result<(), gix::Error> {
        for entry in TreeRefIter::from_bytes(tree, SHA1) {
            let entry = entry?;
            // Of one commit to the next most stays as it was.
            if self.seen.contains(entry.oid) {
                continue;
            }
            let path = name_hash(below, entry.filename);
            match entry.mode {
                mode if mode.is_tree() => waiting.push((entry.oid.to_owned(), path)),
                mode if mode.is_commit() => {}
                _ => self.add_blob(entry.oid.to_owned(), path)?,
            }
        }
        Ok(())
    }

    /// A blob of a tree, unless the client does not want it.
    fn add_blob(&mut self, id: ObjectId, path: u32) -> Result<(), gix::Error> {
        let small = match self.blob_limit {
            None => true,
            Some(0) => false,
            Some(limit) => self.objects.header(id)?.1 < limit,
        };
        if small {
            self.add(id, path);
        }
        Ok(())
    }

    /// False if it was there already.
    fn add(&mut self, id: ObjectId, path: u32) -> bool {
        let new = self.seen.insert(id);
        if new {
            self.found.push((id, path));
        }
        new
    }

    fn tree_of(&mut self, commit: ObjectId) -> Result<ObjectId, gix::Error> {
        self.objects.read(commit, &mut self.content)?;
        CommitRefIter::from_bytes(&self.content, SHA1).tree_id()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    /// Files that change, are copied, and become again what they were.
    fn history(commits: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        for number in 0..commits {
            let (file, content) = (number % 7, (number % 11) * (number % 3));
            let head = format!(
                "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\ndata 0\n",
                1_700_000_000 + number
            );
            let change = |path: &str| format!("M 100644 inline {path}\ndata 4\n{content:04}\n");
            stream.extend([head, change(&format!("a/b{file}/c")), change(&format!("d{file}"))].concat().into_bytes());
        }
        stream
    }

    fn import(repository: &Path, stream: &[u8]) {
        let git = |command: &str| {
            let mut git = Command::new("git");
            git.arg("--git-dir").arg(repository).args([command, "--quiet"]).env("GIT_CONFIG_GLOBAL", "/dev/null");
            git
        };
        assert!(git("init").status().unwrap().success());
        let mut import = git("fast-import").stdin(Stdio::piped()).spawn().unwrap();
        import.stdin.take().unwrap().write_all(stream).unwrap();
        assert!(import.wait().unwrap().success());
    }

    #[test]
    fn two_threads_find_the_same_as_one_in_the_same_order() {
        let home = tempfile::tempdir().unwrap();
        import(home.path(), &history(2 * SPLIT));
        let objects = Objects::open(&home.path().join("objects"), usize::MAX).unwrap();
        let tip = std::fs::read_to_string(home.path().join("refs/heads/main")).unwrap().trim().parse().unwrap();
        let commits = History::new(&objects).between(&[tip], &[], &std::collections::HashSet::new()).unwrap();
        let collector = || Collector::new(objects.clone(), None, HashSet::default());
        let (mut one, mut two) = (collector(), collector());
        one.add_each(&commits).unwrap();
        two.add_commits(&commits).unwrap();
        assert_eq!(commits.len(), 2 * SPLIT);
        assert!(one.found.len() > commits.len());
        assert_eq!(one.found, two.found);
    }
}
