# Compiles the modules below a directory on all processors. Code that does not compile is left as it is: many packages carry such.
# The result is tied to nothing (unchecked hash): times change when a layer is stored, and a layer's files never do.
import os
import py_compile
import sys


def modules(root):
    for directory, names, files in os.walk(root):
        # Not imported by the apps that use a package, and half of some packages.
        names[:] = [name for name in names if name not in ("tests", "test", "__pycache__")]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                yield os.path.getsize(path), path


def compile_every(files):
    for _, path in files:
        try:
            py_compile.compile(path, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        except Exception:
            pass


files = sorted(modules(sys.argv[1]), reverse=True)
workers = max(1, min(len(os.sched_getaffinity(0)), 8, len(files) // 32))
children = []
for worker in range(1, workers):
    child = os.fork()
    if child == 0:
        compile_every(files[worker::workers])
        os._exit(0)
    children.append(child)
compile_every(files[0::workers])
for child in children:
    os.waitpid(child, 0)
