//! Tiny wheels, so that no test needs a package index.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use sha2::Digest;
use tempfile::TempDir;

/// Puts a pure wheel with one module (`VERSION = …`, and a function `main`) and one program of the package's name into `directory`.
pub(crate) fn make(directory: &Path, name: &str, version: &str, requires: &[&str]) {
    let script = r"
import sys, zipfile
directory, name, version, *requires = sys.argv[1:]
module = name.replace('-', '_')
info = f'{module}-{version}.dist-info'
metadata = f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n' + ''.join(f'Requires-Dist: {r}\n' for r in requires)
files = {
    f'{module}.py': f'VERSION = {version!r}\ndef main():\n    import sys\n    print(sys.prefix)\n',
    f'{info}/METADATA': metadata,
    f'{info}/WHEEL': 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    f'{info}/entry_points.txt': f'[console_scripts]\n{name} = {module}:main\n',
}
files[f'{info}/RECORD'] = ''.join(f'{path},,\n' for path in files) + f'{info}/RECORD,,\n'
with zipfile.ZipFile(f'{directory}/{module}-{version}-py3-none-any.whl', 'w') as wheel:
    for path, text in files.items():
        wheel.writestr(zipfile.ZipInfo(path), text)
";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(directory).args([name, version]).args(requires);
    assert!(python.status().unwrap().success());
    assert!(fs::read_dir(directory).unwrap().count() > 0);
}

/// The packages that fixtures choose from, made once: `name version: what it needs`. Each is a package with a program, or, in
/// the list below, an archive of sources with a build that fails with these words.
pub(crate) fn all() -> &'static Path {
    static ALL: OnceLock<TempDir> = OnceLock::new();
    ALL.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let mut python = Command::new("python3");
        assert!(python.args(["-c", include_str!("fixtures.py")]).arg(directory.path()).status().unwrap().success());
        directory
    })
    .path()
}

/// `sha256:…` of one of them.
pub(crate) fn hash(file: &str) -> String {
    let bytes = fs::read(all().join(file)).unwrap();
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
