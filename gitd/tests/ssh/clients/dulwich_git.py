"""A clone, pushes and fetches by dulwich, over the `ssh` of GIT_SSH_COMMAND: `dulwich_git.py URL KEY DIRECTORY`. Says `done` at the end."""

import os
import sys
from pathlib import Path
from urllib.parse import urlparse

from dulwich import porcelain
from dulwich.client import SSHGitClient
from dulwich.repo import Repo

URL, _, DIRECTORY = sys.argv[1:]
PLACE = urlparse(URL)
ME = b"A <a@example.org>"


def client():
    return SSHGitClient(PLACE.hostname, port=PLACE.port, username=PLACE.username, ssh_command=os.environ["GIT_SSH_COMMAND"])


def commit(repository, text):
    (Path(repository.path) / "file").write_bytes(text)
    porcelain.add(repository, [str(Path(repository.path) / "file")])
    return porcelain.commit(repository, b"a change", author=ME, committer=ME)


def push(repository, refs):
    result = client().send_pack(PLACE.path, lambda _: refs, repository.generate_pack_data)
    return {name: reason for name, reason in (result.ref_status or {}).items() if reason}


os.makedirs(DIRECTORY + "/first")
first = Repo.init(DIRECTORY + "/first")
for number in range(5):
    tip = commit(first, b"line\n" * number + b"end\n")
    assert push(first, {b"refs/heads/main": tip}) == {}
assert push(first, {b"refs/heads/other": tip, b"refs/tags/v1": tip}) == {}

os.makedirs(DIRECTORY + "/copy")
copy = Repo.init(DIRECTORY + "/copy")
fetched = client().fetch(PLACE.path, copy)
assert fetched.refs[b"refs/heads/main"] == tip, fetched.refs
assert fetched.refs[b"refs/tags/v1"] == tip
copy.refs[b"refs/heads/main"] = tip
assert len(list(copy.get_walker(include=[tip]))) == 5

tip = commit(first, b"more\n")
assert push(first, {b"refs/heads/main": tip, b"refs/heads/other": b"0" * 40}) == {}
fetched = client().fetch(PLACE.path, copy)
assert fetched.refs[b"refs/heads/main"] == tip
assert b"refs/heads/other" not in fetched.refs
assert copy[tip].tree in copy

refused = push(first, {b"refs/notes/x": tip})
assert list(refused) == [b"refs/notes/x"] and "only branches and tags" in str(refused), refused
os.makedirs(DIRECTORY + "/shallow")
shallow = Repo.init(DIRECTORY + "/shallow")
client().fetch(PLACE.path, shallow, determine_wants=lambda refs, **_: [tip], depth=1)
assert shallow.get_shallow() == {tip}, (shallow.get_shallow(), tip)
print("done")
