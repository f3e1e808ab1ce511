//! Where a client's history is to be cut off. (gitprotocol-pack(5), "shallow" and "deepen")

use std::collections::{HashMap, HashSet, VecDeque};

use super::request::Deepen;
use super::walk::History;
use crate::ObjectId;
use crate::objects::Objects;

/// A depth that means everything.
const INFINITE: u32 = 0x7fff_ffff;

/// How a client's clone is cut off, before and after a fetch.
#[derive(Debug, Default)]
pub(super) struct Shallow {
    /// Commits whose parents the client has not, or is not to get.
    pub(super) cut: HashSet<ObjectId>,
    /// Commits that are cut off from now on.
    pub(super) newly: Vec<ObjectId>,
    /// Commits that no longer are.
    pub(super) no_longer: Vec<ObjectId>,
    /// Their parents, which the client needs now.
    pub(super) parents: Vec<ObjectId>,
}

impl Shallow {
    /// `client` are the commits at which the client's clone is cut off now. None: nothing is left to send.
    pub(super) fn find(
        objects: &Objects,
        wants: &[ObjectId],
        client: &[ObjectId],
        deepen: &Deepen,
        not: &[ObjectId],
    ) -> Result<Option<Self>, gix::Error> {
        let mut history = History::new(objects);
        let client: HashSet<ObjectId> = history.known(client).into_iter().collect();
        if !deepen.asked() {
            return Ok(Some(Self { cut: client, ..Self::default() }));
        }
        let tips = history.known(wants);
        let inside = match deepen.depth {
            Some(depth) if deepen.relative && !client.is_empty() => {
                let tips: Vec<ObjectId> = client.iter().copied().collect();
                by_depth(&mut history, &tips, depth.saturating_add(1).min(INFINITE))?
            }
            Some(depth) => by_depth(&mut history, &tips, depth)?,
            None => by_selection(&mut history, &tips, deepen.since, not)?,
        };
        if inside.is_empty() {
            return Ok(None);
        }
        Self::change(&mut history, client, &inside).map(Some)
    }

    /// `inside` are the commits that the client is to have, and whether they are the last.
    fn change(
        history: &mut History<'_>,
        client: HashSet<ObjectId>,
        inside: &HashMap<ObjectId, bool>,
    ) -> Result<Self, gix::Error> {
        let mut change = Self::default();
        for (id, last) in inside {
            if *last && !client.contains(id) {
                change.newly.push(*id);
            } else if !*last && client.contains(id) {
                change.no_longer.push(*id);
                change.parents.extend(history.commit(*id)?.parents);
            }
        }
        change.cut = client.into_iter().chain(change.newly.iter().copied()).collect();
        Ok(change)
    }
}

/// Commits up to so many from the tips; those at the end are the last.
fn by_depth(history: &mut History<'_>, tips: &[ObjectId], depth: u32) -> Result<HashMap<ObjectId, bool>, gix::Error> {
    let mut inside = HashMap::new();
    let mut queue: VecDeque<(ObjectId, u32)> = tips.iter().map(|id| (*id, 1)).collect();
    while let Some((id, distance)) = queue.pop_front() {
        // The first visit is the one with the shortest way.
        if inside.contains_key(&id) {
            continue;
        }
        let last = depth != INFINITE && distance >= depth;
        inside.insert(id, last);
        if !last {
            queue.extend(history.commit(id)?.parents.into_iter().map(|parent| (parent, distance + 1)));
        }
    }
    Ok(inside)
}

/// Commits that are new enough, and that no `not` leads to; those with a parent that is not are the last.
fn by_selection(
    history: &mut History<'_>,
    tips: &[ObjectId],
    since: Option<i64>,
    not: &[ObjectId],
) -> Result<HashMap<ObjectId, bool>, gix::Error> {
    let mut chosen = HashMap::new();
    for found in history.between(tips, not, &HashSet::new())? {
        let (id, commit) = (found.id, history.commit(found.id)?);
        if since.is_none_or(|since| commit.seconds >= since) {
            chosen.insert(id, commit.parents);
        }
    }
    let last = |parents: &Vec<ObjectId>| parents.iter().any(|parent| !chosen.contains_key(parent));
    Ok(chosen.iter().map(|(id, parents)| (*id, last(parents))).collect())
}
