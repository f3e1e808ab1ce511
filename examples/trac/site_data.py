"""Where the site keeps what must outlive a push, and who may write to it."""

import base64
import hashlib
import hmac
import os
from pathlib import Path

DATA = Path.home() / "data"
TRAC = DATA / "default"
REPOS = DATA / "repos"
HG = REPOS / "hg"
BZR = REPOS / "bzr"

# One line a user: NAME:SALT:HASH. Written last by install.py: the site is installed when this file is there.
USERS = DATA / "users"


def installed():
    return USERS.exists()


def set_password(name, password):
    users = _read()
    salt = os.urandom(16)
    users[name] = (salt.hex(), _hash(password, salt).hex())
    _write(users)


def password_is(name, password):
    salt, expected = _read().get(name, ("", ""))
    actual = _hash(password, bytes.fromhex(salt))
    return bool(expected) and hmac.compare_digest(actual.hex(), expected)


def user_of(header):
    """The user that an `Authorization` header proves to be, or None."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(credentials).decode().partition(":")
    except ValueError:
        return None
    return name if password_is(name, password) else None


def _hash(password, salt):
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def _read():
    if not USERS.exists():
        return {}
    fields = (line.split(":") for line in USERS.read_text().splitlines())
    return {name: (salt, digest) for name, salt, digest in fields}


def _write(users):
    new = USERS.with_suffix(".new")
    new.write_text("".join(f"{name}:{salt}:{digest}\n" for name, (salt, digest) in users.items()))
    new.chmod(0o600)
    new.replace(USERS)
