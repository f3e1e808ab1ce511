//! History as a client sees it: commits at which its clone is cut off have no parents. Blocking.

use std::collections::{BinaryHeap, HashMap, HashSet};

use gix::objs::{CommitRefIter, FindExt, Kind};
use gix::odb::Handle;

use crate::{ObjectId, tree};

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// Reads commits.
pub(crate) struct History<'a> {
    objects: &'a Handle,
    content: Vec<u8>,
}

/// What a walk needs of a commit.
pub(super) struct Commit {
    pub(super) parents: Vec<ObjectId>,
    pub(super) seconds: i64,
}

impl<'a> History<'a> {
    pub(crate) fn new(objects: &'a Handle) -> Self {
        Self { objects, content: Vec::new() }
    }

    pub(super) fn commit(&mut self, id: ObjectId) -> Result<Commit, gix::Error> {
        let data = self.objects.find(&id, &mut self.content)?.data;
        let parents = CommitRefIter::from_bytes(data, SHA1).parent_ids().collect();
        // What an old repository has in place of a date does not keep anybody from fetching it.
        let seconds = CommitRefIter::from_bytes(data, SHA1).committer().map_or(0, |person| person.seconds());
        Ok(Commit { parents, seconds })
    }

    /// Those that are commits here.
    pub(super) fn known(&self, ids: &[ObjectId]) -> Vec<ObjectId> {
        ids.iter().copied().filter(|id| tree::kind(self.objects, *id) == Some(Kind::Commit)).collect()
    }

    /// What `tips` lead to and `hidden` do not, where those in `cut` lead nowhere. The newest first: where dates
    /// deceive, a commit too many is found.
    pub(crate) fn between(
        &mut self,
        tips: &[ObjectId],
        hidden: &[ObjectId],
        cut: &HashSet<ObjectId>,
    ) -> Result<Vec<ObjectId>, gix::Error> {
        let mut walk = Walk { history: self, queue: BinaryHeap::new(), hidden: HashMap::new(), wanted: HashSet::new() };
        for id in hidden {
            walk.enqueue(*id, true)?;
        }
        for id in tips {
            walk.enqueue(*id, false)?;
        }
        let mut found = Vec::new();
        while !walk.wanted.is_empty()
            && let Some((_, id, parents)) = walk.queue.pop()
        {
            let hidden = walk.hidden.get(&id).copied().unwrap_or_default();
            if walk.wanted.remove(&id) {
                found.push(id);
            }
            for parent in parents.into_iter().filter(|_| !cut.contains(&id)) {
                walk.enqueue(parent, hidden)?;
            }
        }
        let hidden = walk.hidden;
        found.retain(|id| hidden.get(id) == Some(&false));
        Ok(found)
    }
}

struct Walk<'a, 'b> {
    history: &'a mut History<'b>,
    queue: BinaryHeap<(i64, ObjectId, Vec<ObjectId>)>,
    /// All that have been seen, and whether they are hidden.
    hidden: HashMap<ObjectId, bool>,
    /// Those in the queue that are not hidden.
    wanted: HashSet<ObjectId>,
}

impl Walk<'_, '_> {
    /// Once for each commit, and once more if it turns out to be hidden.
    fn enqueue(&mut self, id: ObjectId, hidden: bool) -> Result<(), gix::Error> {
        let known = self.hidden.get(&id).copied();
        if known == Some(true) || known == Some(hidden) {
            return Ok(());
        }
        self.hidden.insert(id, hidden);
        if hidden {
            self.wanted.remove(&id);
        } else {
            self.wanted.insert(id);
        }
        let commit = self.history.commit(id)?;
        self.queue.push((commit.seconds, id, commit.parents));
        Ok(())
    }
}
