"""A clone, pushes and fetches by libgit2: `libgit2.py URL KEY DIRECTORY`. Says `done` at the end."""

import sys

import pygit2

URL, KEY, DIRECTORY = sys.argv[1:]


class Callbacks(pygit2.RemoteCallbacks):
    def __init__(self):
        super().__init__(credentials=pygit2.Keypair("airstrip", KEY + ".pub", KEY, ""))
        self.refused = []

    def certificate_check(self, certificate, valid, host):
        return True

    def push_update_reference(self, name, reason):
        if reason:
            self.refused.append((name, reason))


def commit(repository, text):
    blob = repository.create_blob(text)
    tree = repository.TreeBuilder()
    tree.insert("file", blob, pygit2.enums.FileMode.BLOB)
    me = pygit2.Signature("A", "a@example.org")
    parents = [repository.references["refs/heads/main"].target] if "refs/heads/main" in repository.references else []
    return repository.create_commit("refs/heads/main", me, me, "a change", tree.write(), parents)


def push(repository, *refs):
    callbacks = Callbacks()
    repository.remotes["origin"].push(list(refs), callbacks=callbacks)
    return callbacks.refused


first = pygit2.init_repository(DIRECTORY + "/first", bare=True, initial_head="main")
first.remotes.create("origin", URL)
for number in range(5):
    tip = commit(first, b"line\n" * number + b"end\n")
    assert push(first, "refs/heads/main") == []
tag = first.create_tag("v1", tip, pygit2.enums.ObjectType.COMMIT, pygit2.Signature("A", "a@example.org"), "one")
assert push(first, "refs/tags/v1", "refs/heads/main:refs/heads/other") == []

copy = pygit2.clone_repository(URL, DIRECTORY + "/copy", callbacks=Callbacks())
assert copy.head.target == tip
assert copy.references["refs/tags/v1"].target == tag

tip = commit(first, b"more\n")
assert push(first, "refs/heads/main", ":refs/heads/other") == []
copy.remotes["origin"].fetch(callbacks=Callbacks(), prune=pygit2.enums.FetchPrune.PRUNE)
assert copy.references["refs/remotes/origin/main"].target == tip
assert "refs/remotes/origin/other" not in copy.references

refused = push(first, "refs/heads/main:refs/notes/x")
assert refused == [("refs/notes/x", "only branches and tags are kept here")], refused
shallow = pygit2.clone_repository(URL, DIRECTORY + "/shallow", callbacks=Callbacks(), depth=1)
assert len(list(shallow.walk(shallow.head.target))) == 1
print("done")
