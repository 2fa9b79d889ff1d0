"""What is in the sdist and the wheel: `python ci/distributions.py FOLDER MOST_KB`; run it in the repository.

The wheel has the package alone, and is no larger than the limit; the sdist has all files that git tracks.
"""

import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

HIDDEN = "."  # files whose names begin with it are for git and CI, and not in the sdist


def check_wheel(path: Path, most_kb: int) -> None:
    """Nothing but the package and its metadata, every file of the package, and not too large."""
    with zipfile.ZipFile(path) as wheel:
        sizes = {info.filename: info.compress_size for info in wheel.infolist()}
        names = set(sizes)
        licence = [name for name in names if name.endswith("LICENSE")]
    package = {name for name in names if name.startswith("xpconv/")}
    metadata = {name for name in names if name.startswith(f"{'-'.join(path.name.split('-')[:2])}.dist-info/")}
    assert names == package | metadata, names - package - metadata
    assert licence, "the licence is missing"
    tracked = {name for name in files() if name.startswith("xpconv/")}
    assert package == tracked, f"not in the wheel: {tracked - package}; only there: {package - tracked}"
    parts = Counter[str]()
    for name, size in sizes.items():
        first = name.split("/")
        parts[first[1] if name in package and len(first) > 2 else "other files"] += size
    size = path.stat().st_size / 1000
    print(f"{path.name}: {size:.0f} KB, {len(names)} files; compressed, in KB: ", end="")
    print(", ".join(f"{part} {size / 1000:.0f}" for part, size in parts.most_common()))
    assert size <= most_kb, f"the wheel has {size:.0f} KB, expected at most {most_kb}"


def check_sdist(path: Path) -> None:
    """All that git tracks, so that the tests run."""
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    missing = {name for name in files() if not name.startswith(HIDDEN)} - names
    assert not missing, f"not in the sdist: {sorted(missing)}"
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB, {len(names)} files")


def files() -> list[str]:
    """The files that git tracks."""
    run = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [name for name in run.stdout.split("\0") if name]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (wheel,), (sdist,) = folder.glob("xpconv-*.whl"), folder.glob("xpconv-*.tar.gz")
    check_wheel(wheel, int(sys.argv[2]))
    check_sdist(sdist)
