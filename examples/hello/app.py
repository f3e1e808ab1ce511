"""A page that says hello and counts its visits. The count outlives pushes, restarts and rollbacks: it is in ~/data."""

import fcntl
import os
from pathlib import Path

from flask import Flask

app = Flask(__name__)
VISITS = Path.home() / "data" / "visits"


@app.get("/")
def hello():
    visits = count_visit()
    release = os.environ.get("AIRSTRIP_RELEASE", "your own machine")
    return f"Hello from {release}! This page has been seen {visits} time{'s' if visits > 1 else ''}.\n"


def count_visit():
    """One more. The lock is there because several instances may share the file."""
    with VISITS.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        visits = int(file.read() or 0) + 1
        file.truncate(0)
        file.write(str(visits))
    return visits
