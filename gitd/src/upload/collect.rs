//! Which objects a client lacks. Blocking.

use std::collections::HashSet;

use gix::objs::{CommitRefIter, FindExt, Kind, TagRefIter, TreeRefIter};
use gix::odb::{Handle, HeaderExt};

use super::Plan;
use super::walk::History;
use crate::{ObjectId, tree};

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;
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
pub(super) fn missing(objects: &Handle, plan: &Plan, tags: &[ObjectId]) -> Result<Vec<ObjectId>, gix::Error> {
    let blob_limit = plan.asked.blob_limit;
    let mut collector = Collector { objects, blob_limit, seen: HashSet::new(), found: Vec::new(), content: Vec::new() };
    for commit in plan.common.iter().chain(&plan.shallow.no_longer) {
        let tree = collector.tree_of(*commit)?;
        collector.add_tree(tree)?;
    }
    collector.found.clear();
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
    Ok(collector.found)
}

struct Collector<'a> {
    objects: &'a Handle,
    blob_limit: Option<u64>,
    seen: HashSet<ObjectId>,
    found: Vec<ObjectId>,
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
                _ => drop(self.add(id)),
            }
        }
        Ok(commit)
    }

    /// The commits that the client lacks, with their trees.
    fn add_history(&mut self, tips: &[ObjectId], plan: &Plan) -> Result<(), gix::Error> {
        for commit in History::new(self.objects).between(tips, &plan.common, &plan.shallow.cut)? {
            if self.add(commit) {
                let tree = self.tree_of(commit)?;
                self.add_tree(tree)?;
            }
        }
        Ok(())
    }

    fn add_tree(&mut self, root: ObjectId) -> Result<(), gix::Error> {
        let mut waiting = vec![root];
        while let Some(tree) = waiting.pop() {
            if !self.add(tree) {
                continue;
            }
            let data = self.objects.find(&tree, &mut self.content)?.data;
            let mut blobs = Vec::new();
            for entry in TreeRefIter::from_bytes(data, SHA1) {
                let entry = entry?;
                match entry.mode {
                    mode if mode.is_tree() => waiting.push(entry.oid.to_owned()),
                    mode if mode.is_commit() => {}
                    _ => blobs.push(entry.oid.to_owned()),
                }
            }
            for blob in blobs {
                self.add_blob(blob)?;
            }
        }
        Ok(())
    }

    /// A blob of a tree, unless the client does not want it.
    fn add_blob(&mut self, id: ObjectId) -> Result<(), gix::Error> {
        let small = match self.blob_limit {
            None => true,
            Some(0) => false,
            Some(limit) => self.objects.header(id)?.size() < limit,
        };
        if small {
            self.add(id);
        }
        Ok(())
    }

    /// False if it was there already.
    fn add(&mut self, id: ObjectId) -> bool {
        let new = self.seen.insert(id);
        if new {
            self.found.push(id);
        }
        new
    }

    fn tree_of(&mut self, commit: ObjectId) -> Result<ObjectId, gix::Error> {
        CommitRefIter::from_bytes(self.objects.find(&commit, &mut self.content)?.data, SHA1).tree_id()
    }
}
