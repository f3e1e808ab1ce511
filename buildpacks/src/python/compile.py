# Compiles the modules below a directory on all processors. Code that does not compile is left as it is: many packages carry such.
# The result is tied to nothing (unchecked hash): times change when a layer is stored, and a layer's files never do.
# What an earlier build compiled is taken from the second directory, which afterwards holds what this one needed: few large files,
# since each file costs as much as compiling a small module. A file is a row of keys, lengths and compiled modules.
import hashlib
import importlib.util
import marshal
import os
import shutil
import sys

root, kept = sys.argv[1:]
KEY, LENGTH = 32, 8


def modules():
    for directory, names, files in os.walk(root):
        # Not imported by the apps that use a package, and half of some packages.
        names[:] = [name for name in names if name not in ("tests", "test", "__pycache__")]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                yield os.path.getsize(path), path


def compiled_before():
    places = {}
    for name in os.listdir(kept) if os.path.isdir(kept) else ():
        file = os.open(os.path.join(kept, name), os.O_RDONLY)
        at, end = 0, os.fstat(file).st_size
        while at + KEY + LENGTH <= end:
            head = os.pread(file, KEY + LENGTH, at)
            length = int.from_bytes(head[KEY:], "little")
            at += KEY + LENGTH
            places[head[:KEY]] = file, length, at
            at += length
    return places


def module(path, source, key):
    file, length, at = known.get(key, (None, 0, 0))
    code = os.pread(file, length, at) if length else b""
    if not code or len(code) != length:
        code = marshal.dumps(compile(source, path, "exec", dont_inherit=True))
    return code


def compile_one(path, keep):
    with open(path, "rb") as file:
        source = file.read()
    key = hashlib.sha256(importlib.util.MAGIC_NUMBER + path.encode() + b"\0" + source).digest()
    code = module(path, source, key)
    target = importlib.util.cache_from_source(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target + ".new", "wb") as file:
        # PEP 552: by hash, and not to be checked.
        file.write(importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + importlib.util.source_hash(source) + code)
    os.rename(target + ".new", target)
    keep.write(key + len(code).to_bytes(LENGTH, "little") + code)


def compile_next(worker):
    with open(os.path.join(fresh, str(worker)), "wb") as keep:
        # The forks share the file's offset, so each read takes what nobody else has taken.
        for number in iter(lambda: os.read(queue, 4), b""):
            try:
                compile_one(files[int.from_bytes(number, "little")][1], keep)
            except Exception:
                pass


fresh = kept + ".new"
shutil.rmtree(fresh, ignore_errors=True)
os.makedirs(fresh)
known = compiled_before()
files = sorted(modules(), reverse=True)
queue = os.open(os.path.join(fresh, "queue"), os.O_RDWR | os.O_CREAT)
os.write(queue, b"".join(number.to_bytes(4, "little") for number in range(len(files))))
os.lseek(queue, 0, os.SEEK_SET)
workers = max(1, min(len(os.sched_getaffinity(0)), 8, len(files) // 32))
children = []
for worker in range(1, workers):
    child = os.fork()
    if child == 0:
        compile_next(worker)
        os._exit(0)
    children.append(child)
compile_next(0)
for child in children:
    os.waitpid(child, 0)
os.remove(os.path.join(fresh, "queue"))
shutil.rmtree(kept, ignore_errors=True)
os.rename(fresh, kept)
