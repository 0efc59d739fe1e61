"""Look into the wheel and the sdist of a folder: everything that belongs there, and nothing else."""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IN_SDIST = {
    *("mesodask", "tests", "benchmarks", "cluster", "notebooks", "docs"),
    *("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"),
}


def package_files() -> set[str]:
    """Files of the package, by their paths in the project."""
    files = (path for path in (ROOT / "mesodask").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def main(folder: Path) -> None:
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    expected = package_files()
    faults = {
        "the wheel lacks": expected - in_wheel,
        "the wheel has besides": in_wheel - expected,
        "the sdist lacks": expected - in_sdist,
        "the sdist has besides": {
            name for name in in_sdist if name.split("/")[0] not in IN_SDIST or "__pycache__" in name
        },
    }
    told = [f"{what}: {', '.join(sorted(files))}" for what, files in faults.items() if files]
    if told:
        sys.exit("\n".join(told))
    print(f"{wheel.name}: {len(in_wheel)} files; {sdist.name}: {len(in_sdist)} files")


main(Path(sys.argv[1]))
