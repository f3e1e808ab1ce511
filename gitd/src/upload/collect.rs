//! Which objects a client lacks. Blocking.

use std::collections::HashMap;
use std::time::Duration;

use gix::hashtable::HashSet;
use gix::objs::{CommitRefIter, FindExt, Kind, TagRefIter, TreeRefIter};
use gix::odb::{Handle, HeaderExt};

use super::Plan;
use super::walk::{Found, History};
use crate::packing::{Contents, name_hash};
use crate::{ObjectId, tree};

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
/// How long new deltas are looked for.
const SEARCH: Duration = Duration::from_secs(10);
/// Tags of tags of tags.
const TAGS: usize = 16;

/// The object itself and, for a tag, what it leads to, one after the other.
pub(super) fn peel(objects: &Handle, id: ObjectId) -> Result<Vec<ObjectId>, gix::Error> {
    let mut chain = vec![id];
    let mut content = Vec::new();
    let mut last = id;
    while tree::kind(objects, last) == Some(Kind::Tag) && chain.len() <= TAGS {
        last = TagRefIter::from_bytes(objects.find(&last, &mut content)?.data, SHA1).target_id()?;
        chain.push(last);
    }
    Ok(chain)
}

/// Everything that `plan` needs. `tags` are all tags, for those that follow their commits.
pub(super) fn missing(objects: &Handle, plan: &Plan, tags: &[ObjectId]) -> Result<Contents, gix::Error> {
    let blob_limit = plan.asked.blob_limit;
    let mut collector =
        Collector { objects, blob_limit, seen: HashSet::default(), found: Vec::new(), content: Vec::new() };
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

struct Collector<'a> {
    objects: &'a Handle,
    blob_limit: Option<u64>,
    seen: HashSet<ObjectId>,
    /// With [`name_hash`].
    found: Vec<(ObjectId, u32)>,
    content: Vec<u8>,
}

impl Collector<'_> {
    /// Tags on the way to a commit, which is returned; a tag of a tree or blob with all of it.
    fn add_chain(&mut self, id: ObjectId) -> Result<Option<ObjectId>, gix::Error> {
        let mut commit = None;
        for id in peel(self.objects, id)? {
            match tree::kind(self.objects, id) {
                Some(Kind::Commit) => commit = Some(id),
                Some(Kind::Tree) => self.add_tree(id)?,
                _ => _ = self.add(id, 0),
            }
        }
        Ok(commit)
    }

    /// The commits that the client lacks, with their trees.
    fn add_history(&mut self, tips: &[ObjectId], plan: &Plan) -> Result<(), gix::Error> {
        let commits = History::new(self.objects).between(tips, &plan.common, &plan.shallow.cut)?;
        self.add_commits(&commits)
    }

    fn add_commits(&mut self, commits: &[Found]) -> Result<(), gix::Error> {
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
            if !self.add(tree, path) {
                continue;
            }
            let below = if tree == root { 0 } else { name_hash(path, b"/") };
            let mut content = std::mem::take(&mut self.content);
            let data = self.objects.find(&tree, &mut content)?.data;
            for entry in TreeRefIter::from_bytes(data, SHA1) {
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
            self.content = content;
        }
        Ok(())
    }

    /// A blob of a tree, unless the client does not want it.
    fn add_blob(&mut self, id: ObjectId, path: u32) -> Result<(), gix::Error> {
        let small = match self.blob_limit {
            None => true,
            Some(0) => false,
            Some(limit) => self.objects.header(id)?.size() < limit,
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
        CommitRefIter::from_bytes(self.objects.find(&commit, &mut self.content)?.data, SHA1).tree_id()
    }
}
