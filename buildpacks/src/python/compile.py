# Compiles the modules below a directory on all processors. Code that does not compile is left as it is: many packages carry such.
# The result is tied to nothing (unchecked hash): times change when a layer is stored, and a layer's files never do.
# What an earlier build compiled is taken from the second directory, which afterwards holds what this one needed.
import hashlib
import importlib.util
import os
import py_compile
import shutil
import sys

root, kept = sys.argv[1:]


def modules():
    for directory, names, files in os.walk(root):
        # Not imported by the apps that use a package, and half of some packages.
        names[:] = [name for name in names if name not in ("tests", "test", "__pycache__")]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                yield os.path.getsize(path), path


def key(path):
    with open(path, "rb") as source:
        identity = importlib.util.MAGIC_NUMBER + path.encode() + b"\0" + source.read()
    return hashlib.sha256(identity).hexdigest()


def compile_one(path):
    name, target = key(path), importlib.util.cache_from_source(path)
    known, new = os.path.join(kept, name), os.path.join(fresh, name)
    if os.path.exists(known):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(known, target)
        os.rename(known, new)
    elif py_compile.compile(path, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH):
        shutil.copyfile(target, new)


def compile_next():
    # The forks share the file's offset, so each read takes what nobody else has taken.
    while number := os.read(queue, 4):
        try:
            compile_one(files[int.from_bytes(number, "little")][1])
        except Exception:
            pass


fresh = kept + ".new"
shutil.rmtree(fresh, ignore_errors=True)
os.makedirs(fresh)
files = sorted(modules(), reverse=True)
queue = os.open(os.path.join(fresh, "queue"), os.O_RDWR | os.O_CREAT)
os.write(queue, b"".join(number.to_bytes(4, "little") for number in range(len(files))))
os.lseek(queue, 0, os.SEEK_SET)
workers = max(1, min(len(os.sched_getaffinity(0)), 8, len(files) // 32))
children = []
for _ in range(1, workers):
    child = os.fork()
    if child == 0:
        compile_next()
        os._exit(0)
    children.append(child)
compile_next()
for child in children:
    os.waitpid(child, 0)
os.remove(os.path.join(fresh, "queue"))
shutil.rmtree(kept, ignore_errors=True)
os.rename(fresh, kept)
