//! History as a client sees it: commits at which its clone is cut off have no parents. Blocking.

use std::collections::{BinaryHeap, HashMap, HashSet};

use gix::objs::{CommitRefIter, Kind};

use crate::ObjectId;
use crate::objects::Objects;

const SHA1: gix::hash::Kind = gix::hash::Kind::Sha1;

/// Reads commits.
pub(crate) struct History<'a> {
    objects: &'a Objects,
    content: Vec<u8>,
}

/// What a walk needs of a commit.
pub(super) struct Commit {
    pub(super) tree: ObjectId,
    pub(super) parents: Vec<ObjectId>,
    pub(super) seconds: i64,
}

/// A commit that was found.
pub(crate) struct Found {
    pub(crate) id: ObjectId,
    pub(crate) tree: ObjectId,
}

impl<'a> History<'a> {
    pub(crate) fn new(objects: &'a Objects) -> Self {
        Self { objects, content: Vec::new() }
    }

    pub(super) fn commit(&mut self, id: ObjectId) -> Result<Commit, gix::Error> {
        self.objects.read(id, &mut self.content)?;
        let data = &self.content;
        let tree = CommitRefIter::from_bytes(data, SHA1).tree_id()?;
        let parents = CommitRefIter::from_bytes(data, SHA1).parent_ids().collect();
        // What an old repository has in place of a date does not keep anybody from fetching it.
        let seconds = CommitRefIter::from_bytes(data, SHA1).committer().map_or(0, |person| person.seconds());
        Ok(Commit { tree, parents, seconds })
    }

    /// Those that are commits here.
    pub(super) fn known(&self, ids: &[ObjectId]) -> Vec<ObjectId> {
        ids.iter().copied().filter(|id| self.objects.kind(*id) == Some(Kind::Commit)).collect()
    }

    /// Whether one commit is the other, or comes after it. Whatever their dates say.
    pub(crate) fn leads_to(&mut self, from: ObjectId, to: ObjectId) -> Result<bool, gix::Error> {
        // The newest first: mostly it is not far away.
        let (mut queue, mut seen) = (BinaryHeap::from([(i64::MAX, from)]), HashSet::from([from]));
        while let Some((_, id)) = queue.pop() {
            if id == to {
                return Ok(true);
            }
            let commit = self.commit(id)?;
            let parents = commit.parents.into_iter().filter(|parent| seen.insert(*parent));
            queue.extend(parents.map(|parent| (commit.seconds, parent)));
        }
        Ok(false)
    }

    /// What `tips` lead to and `hidden` do not, where those in `cut` lead nowhere. The newest first: where dates
    /// deceive, a commit too many is found.
    pub(crate) fn between(
        &mut self,
        tips: &[ObjectId],
        hidden: &[ObjectId],
        cut: &HashSet<ObjectId>,
    ) -> Result<Vec<Found>, gix::Error> {
        let mut walk = Walk { history: self, queue: BinaryHeap::new(), hidden: HashMap::new(), wanted: HashSet::new() };
        for id in hidden {
            walk.enqueue(*id, true)?;
        }
        for id in tips {
            walk.enqueue(*id, false)?;
        }
        let (mut found, mut oldest) = (Vec::new(), i64::MAX);
        // Those of the same second may be each other's parents.
        while let Some(Queued { seconds, id, tree, parents }) = walk.queue.pop()
            && (!walk.wanted.is_empty() || seconds >= oldest)
        {
            let hidden = walk.hidden.get(&id).copied().unwrap_or_default();
            if walk.wanted.remove(&id) {
                found.push(Found { id, tree });
                oldest = seconds;
            }
            for parent in parents.into_iter().filter(|_| !cut.contains(&id)) {
                walk.enqueue(parent, hidden)?;
            }
        }
        let hidden = walk.hidden;
        found.retain(|commit| hidden.get(&commit.id) == Some(&false));
        Ok(found)
    }
}

/// A commit whose turn is to come. Ordered by its time, above all.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    seconds: i64,
    id: ObjectId,
    tree: ObjectId,
    parents: Vec<ObjectId>,
}

struct Walk<'a, 'b> {
    history: &'a mut History<'b>,
    /// The newest first.
    queue: BinaryHeap<Queued>,
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
        let Commit { tree, parents, seconds } = self.history.commit(id)?;
        self.queue.push(Queued { seconds, id, tree, parents });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Commits of the same second, whose names stand in any order.
    #[test]
    fn dates_do_not_decide_what_comes_after_what() {
        let home = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(home.path()).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
            for role in ["AUTHOR", "COMMITTER"] {
                command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
                command.env(format!("GIT_{role}_DATE"), "1700000000 +0000");
            }
            let done = command.output().unwrap();
            assert!(done.status.success(), "{arguments:?}");
            String::from_utf8(done.stdout).unwrap().trim().to_owned()
        };
        git(&["init", "-q", "--bare"]);
        let tree = git(&["hash-object", "-wt", "tree", "/dev/null"]);
        let mut ids: Vec<ObjectId> = Vec::new();
        for number in 0..10 {
            let parent = ids.last().map(ToString::to_string);
            let mut arguments = vec!["commit-tree", "-m", "x", &tree];
            arguments.extend(parent.iter().flat_map(|parent| ["-p", parent]));
            assert_eq!(ids.len(), number);
            ids.push(git(&arguments).parse().unwrap());
        }
        let objects = Objects::open(&home.path().join("objects"), usize::MAX).unwrap();
        let mut history = History::new(&objects);
        for (older, newer) in (0..10).flat_map(|older| (older..10).map(move |newer| (older, newer))) {
            assert!(history.leads_to(ids[newer], ids[older]).unwrap());
            assert_eq!(history.leads_to(ids[older], ids[newer]).unwrap(), older == newer);
            assert!(history.between(&[ids[older]], &[ids[newer]], &HashSet::new()).unwrap().is_empty());
            let between = history.between(&[ids[newer]], &[ids[older]], &HashSet::new()).unwrap();
            assert_eq!(between.len(), newer - older);
        }
    }
}
