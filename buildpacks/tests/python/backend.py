# The smallest build backend: one module, named in pyproject.toml.
import os
import zipfile

NAME, VERSION = "local", "1.0"
INFO = f"{NAME}-{VERSION}.dist-info"


def wheel(directory, files):
    files = {
        **files,
        f"{INFO}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{INFO}/entry_points.txt": f"[console_scripts]\n{NAME} = {NAME}:main\n",
    }
    files[f"{INFO}/RECORD"] = "".join(f"{path},,\n" for path in files) + f"{INFO}/RECORD,,\n"
    name = f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return name


def build_editable(directory, settings=None, metadata=None):
    return wheel(directory, {f"{NAME}.pth": os.getcwd() + "\n"})


def build_wheel(directory, settings=None, metadata=None):
    with open(f"{NAME}.py") as module:
        return wheel(directory, {f"{NAME}.py": module.read()})
