#!/usr/bin/env python3
"""Makes the site's data, once: a Trac environment, a Mercurial and a Bazaar repository, and their first user.

With --again it touches none of them and only adds a user, or gives one a new password.
"""

import contextlib
import getpass
import io
import re
import sys

import site_data


def main(arguments):
    if arguments not in ([], ["--again"]):
        sys.exit("usage: ./install.py [--again]")
    again = bool(arguments)
    if site_data.installed() and not again:
        sys.exit("installed already; ./install.py --again adds a user or changes a password, and touches nothing else")
    if not site_data.installed():
        refuse_leftovers()
    name, password = ask()
    if not site_data.installed():
        make_trac(name)
        make_mercurial()
        make_bazaar()
    allow_pushes(name)
    site_data.set_password(name, password)
    print(f"installed; {name} may log in and push")


def refuse_leftovers():
    for path in (site_data.TRAC, site_data.REPOS):
        if path.exists():
            sys.exit(f"{path} is left from an installation that did not finish; move it away first")


def ask():
    name = input("username: ")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
        sys.exit("a username is 1 to 40 of a-z, 0-9, '_', '.' and '-'")
    password = getpass.getpass("password: ")
    if not password:
        sys.exit("an empty password is none")
    return name, password


def make_trac(admin):
    from trac.admin.console import TracAdmin

    print("making the Trac environment …", flush=True)
    trac = TracAdmin(str(site_data.TRAC))
    said = io.StringIO()  # advice about web servers that this site does not need
    with contextlib.redirect_stdout(said):
        failed = trac.do_initenv("trac sqlite:db/trac.db")
    if failed:
        sys.exit(said.getvalue())
    trac.onecmd(f"permission add {admin} TRAC_ADMIN")


def make_mercurial():
    from mercurial import hg, ui

    print("making the Mercurial repository …", flush=True)
    site_data.HG.mkdir(parents=True)
    hg.repository(ui.ui.load(), bytes(site_data.HG / "main"), create=True)


def make_bazaar():
    import breezy
    import breezy.bzr  # registers the formats
    from breezy.controldir import ControlDir, format_registry

    print("making the Bazaar branch …", flush=True)
    site_data.BZR.mkdir(parents=True)
    breezy.initialize()
    default = format_registry.make_controldir("default")
    ControlDir.create_branch_convenience((site_data.BZR / "main").as_uri(), force_new_tree=False, format=default)


def allow_pushes(name):
    """Lets the user push to every Mercurial repository; the router before the app speaks HTTP with it."""
    for repository in site_data.HG.iterdir():
        hgrc = repository / ".hg" / "hgrc"
        names = re.search(r"^allow-push = (.*)$", hgrc.read_text(), re.M) if hgrc.exists() else None
        names = sorted({name, *(names[1].split(", ") if names else [])})
        hgrc.write_text(f"[web]\npush_ssl = no\nallow-push = {', '.join(names)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
