# Writes the packages that fixtures are made of into a directory: wheels, and archives of sources that cannot be built.
import io
import sys
import tarfile
import zipfile

PACKAGES = """
hello 1.0: greeting>=1
greeting 1.0:
greeting 2.0:
greeting 2.1:
needs-old 1.0: greeting<2
needs-new 1.0: greeting>=2
zope.interface 5.0:
needs-newer-python 2.0 >=3.99:
gunicorn 99.0:
uvicorn 1.0:
uvicorn-standard 1.0:
daphne 4.0:
waitress 3.0:
flask 3.0:
fastapi 1.0:
starlette 1.0:
dash 2.0:
django 5.0:
streamlit 1.0:
gradio 5.0:
requests 2.0:
speed 1.0:
"""

# What a build says that lacks something.
BROKEN = {
    "no-compiler 1.0": "error: command 'gcc' failed: No such file or directory",
    "psycopg2 2.9": "Error: pg_config executable not found.",
    "no-headers 1.0": "fatal error: Python.h: No such file or directory",
    "no-rust 1.0": "error: can't find Rust compiler",
    "old-code 1.0": "ModuleNotFoundError: No module named 'imp'",
}

BACKEND = """
def build_wheel(*arguments, **more):
    raise SystemExit({words!r})
get_requires_for_build_wheel = lambda settings=None: []
prepare_metadata_for_build_wheel = build_wheel
"""

directory = sys.argv[1]


def metadata(name, version, python="", needs=()):
    lines = [f"Metadata-Version: 2.2", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {python}"] if python else []
    return "\n".join(lines + [f"Requires-Dist: {need}" for need in needs]) + "\n"


def wheel(name, version, python, needs):
    module = name.replace("-", "_").replace(".", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": f"VERSION = {version!r}\ndef main():\n    print(VERSION)\n",
        f"{info}/METADATA": metadata(name, version, python, needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {module}:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(f"{directory}/{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)


def sources(name, version, words):
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
        "backend.py": BACKEND.format(words=words),
        "PKG-INFO": metadata(name, version),
    }
    stem = f"{name.replace('-', '_')}-{version}"
    with tarfile.open(f"{directory}/{stem}.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{stem}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


for line in PACKAGES.split("\n"):
    if line:
        package, needs = line.split(":")
        name, version, *python = package.split()
        wheel(name, version, "".join(python), [need for need in needs.split(",") if need.strip()])
for package, words in BROKEN.items():
    sources(*package.split(), words)
