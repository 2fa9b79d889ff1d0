"""How many cores this process may use, and how many threads to start with."""

from __future__ import annotations

import functools
import math
import os
import re
from pathlib import Path, PurePosixPath


def cores() -> int:
    """The cores in the affinity mask, or fewer where a control group of Linux limits the CPU time.

    A container with a limit of 1.5 CPUs gets two cores: one would leave a third of its time unused.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, cpu_limit())))


def count_from_environment() -> tuple[int, str]:
    """The number of threads to start with, and the variable that gives it; by default one a core."""
    own, openmp = "XPCONV_NUM_THREADS", "OMP_NUM_THREADS"
    text = os.environ.get(own, "").strip()
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"environment variable {own} is {text!r}, expected a number from 1")
        return int(text), own
    first = os.environ.get(openmp, "").partition(",")[0].strip()  # OpenMP takes a list, one a level
    if first.isdecimal() and int(first):
        return int(first), openmp
    return max(1, cores() // _processes_here()), ""


def _processes_here() -> int:
    """How many processes were started together on this machine that have the same cores."""
    for name in (
        "MPI_LOCALNRANKS",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "LOCAL_WORLD_SIZE",
    ):  # MPICH's; Open MPI's, which binds to cores; torchrun's
        text = os.environ.get(name, "")
        bound = (
            name.startswith("OMPI")
            and hasattr(os, "sched_getaffinity")
            and (len(os.sched_getaffinity(0)) < (os.cpu_count() or 1))
        )
        if text.isdecimal() and int(text) and not bound:
            return int(text)
    return 1


@functools.cache
def cpu_limit(root: Path = Path("/")) -> float:
    """The CPU time per second that the control groups allow, infinity without a limit.

    The limit of a group binds the groups in it, so that the least of those from the process's own group up to
    the root counts. Files that are missing or that cannot be understood set no limit. See cgroups(7),
    proc(5) on mountinfo, and the kernel's documentation of `cpu.max` (version 2) and `cpu.cfs_quota_us`
    (version 1). The files are read once.
    """
    groups: dict[str, str] = {}  # the process's group by the type of the file system that it is shown in
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            groups["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            groups["cgroup"] = path
    limits = [math.inf]
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, file_system = line.partition(" - ")
        fields, (kind, _, options) = mount.split(" "), file_system.partition(" ")
        if kind not in groups or len(fields) < 5:
            continue
        if kind == "cgroup" and "cpu" not in options.rpartition(" ")[2].split(","):
            continue  # version 1 mounts each controller by itself
        top, point = map(_unescape, fields[3:5])  # the group that is mounted, and where
        inner, folder = PurePosixPath(groups[kind]), root / point.lstrip("/")
        group = folder / inner.relative_to(top) if inner.is_relative_to(top) else folder
        limits.append(_limit(group, kind))
        while group != folder:
            group = group.parent
            limits.append(_limit(group, kind))
    return min(limits)


def _unescape(path: str) -> str:
    """A path in mountinfo, where spaces and backslashes are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _limit(group: Path, kind: str) -> float:
    """Quota over period of one group."""
    if kind == "cgroup2":
        numbers = _read(group / "cpu.max").split()
    else:
        numbers = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(numbers) == 2 and all(number.isdecimal() and int(number) for number in numbers):
        return int(numbers[0]) / int(numbers[1])
    return math.inf  # "max" in version 2, "-1" in version 1


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):  # no such file, no permission; a path with a null character
        return ""
