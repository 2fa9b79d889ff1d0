"""The number of cores: by the affinity mask, and by the CPU limits of control groups, in files of our own."""

import math
import os

import pytest

from xpconv import cores as module
from xpconv.cores import cores, count_from_environment, cpu_limit

V2 = "31 23 0:28 {root} {point} rw,nosuid,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 23 0:28 {root} {point} rw,nosuid,relatime shared:4 - cgroup cgroup rw,{controllers}"
OTHERS = [
    "22 1 8:1 / / rw,relatime - ext4 /dev/root rw",
    "23 22 0:21 / /proc rw - proc proc rw",
    "30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
    V1.format(root="/", point="/sys/fs/cgroup/memory", controllers="memory"),
    V1.format(root="/", point="/sys/fs/cgroup/cpuset", controllers="cpuset"),
]


@pytest.fixture
def system(tmp_path):
    """Writes files below a root folder, and reads the limit from them."""

    def make(groups, mounts, files):
        texts = {"proc/self/cgroup": groups, "proc/self/mountinfo": [*OTHERS, *mounts], **files}
        for name, text in texts.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text if isinstance(text, str) else "".join(f"{line}\n" for line in text))
        return cpu_limit(tmp_path)

    return make


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("/", {"": "max 100000\n"}, math.inf),
        ("/", {"": "200000 100000\n"}, 2),  # a container, which sees its own group as the root
        ("/", {"": "150000 100000\n"}, 1.5),
        ("/", {"": "1000 20000\n"}, 0.05),
        ("/a/b", {"/a/b": "400000 100000"}, 4),
        ("/a/b", {"/a/b": "400000 100000", "/a": "300000 100000"}, 3),  # a limit of the group around it
        ("/a/b", {"/a/b": "400000 100000", "/a": "max 100000", "": "50000 25000"}, 2),
        ("/a/b", {"/a/b/c": "100000 100000", "/x": "100000 100000"}, math.inf),  # those of others
        ("/a b/c", {"/a b": "300000 100000"}, 3),
        ("/a", {"/a": ""}, math.inf),
        ("/a", {"/a": "max"}, math.inf),
        ("/a", {"/a": "0 100000"}, math.inf),
        ("/a", {"/a": "100000 0"}, math.inf),
        ("/a", {"/a": "-1 100000"}, math.inf),
        ("/a", {"/a": "many 100000"}, math.inf),
        ("/a", {"/a": "1 2 3"}, math.inf),
        ("/../b", {"": "300000 100000"}, 3),  # a group outside the namespace
    ],
)
def test_version_2(system, group, files, expected):
    point = "/sys/fs/cgroup"
    files = {f"{point[1:]}{folder}/cpu.max": text for folder, text in files.items()}
    assert system([f"0::{group}"], [V2.format(root="/", point=point)], files) == expected


def v1(point, **groups):
    """Files of version 1: quota and period of groups, whose names have _ for /."""
    files = {}
    for group, (quota, period) in groups.items():
        folder = f"{point[1:]}{group.replace('_', '/')}"
        files |= {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}
    return files


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"_a_b": (-1, 100000)}, math.inf),
        ({"_a_b": (300000, 100000)}, 3),
        ({"_a_b": (300000, 100000), "_a": (50000, 100000)}, 0.5),
        ({"_a_b": (300000, 0)}, math.inf),
        ({"_a_b": (300000, "")}, math.inf),
        ({"_": (200000, 100000), "_a": (-1, 100000)}, 2),
    ],
)
@pytest.mark.parametrize("controllers", ["cpu,cpuacct", "cpuacct,cpu", "cpu"])
def test_version_1(system, values, expected, controllers):
    point = f"/sys/fs/cgroup/{controllers}"
    groups = ["12:memory:/m", f"5:{controllers}:/a/b", "4:cpuset:/a/b", "1:name=systemd:/a/b", "0::/a/b"]
    mounts = [V1.format(root="/", point=point, controllers=controllers)]
    files = v1("/sys/fs/cgroup/cpuset", _a_b=(1, 2)) | v1("/sys/fs/cgroup/memory", _m=(1, 2))
    assert system(groups, mounts, files | v1(point, **values)) == expected


def test_both_versions(system):
    """As systemd mounts them in its hybrid mode: the least limit counts."""
    mounts = [
        V1.format(root="/", point="/sys/fs/cgroup/cpu", controllers="cpu"),
        V2.format(root="/", point="/sys/fs/cgroup/unified"),
    ]
    files = v1("/sys/fs/cgroup/cpu", _a=(300000, 100000))
    assert system(["3:cpu:/a", "0::/b"], mounts, files) == 3
    cpu_limit.cache_clear()
    files["sys/fs/cgroup/unified/b/cpu.max"] = "200000 100000"
    assert system(["3:cpu:/a", "0::/b"], mounts, files) == 2


@pytest.mark.parametrize("mount", [V2, V1.replace("{controllers}", "cpu")])
def test_a_container_that_sees_the_hosts_names(system, mount):
    """Its group is mounted where others have the root."""
    group = "/docker/0123"
    files = {"sys/cpu.max": "200000 100000", **v1("/sys", _=(200000, 100000))}
    groups = [f"3:cpu:{group}/inner", f"0::{group}/inner"]
    assert system(groups, [mount.format(root=group, point="/sys")], files) == 2
    cpu_limit.cache_clear()
    files |= {"sys/inner/cpu.max": "100000 100000", **v1("/sys", _inner=(100000, 100000))}
    assert system(groups, [mount.format(root=group, point="/sys")], files) == 1
    cpu_limit.cache_clear()
    assert system(groups, [mount.format(root="/docker/other", point="/sys")], files) == 2


def test_a_place_with_spaces(system):
    mounts = [V2.format(root="/", point=r"/my\040place\134x")]
    assert system(["0::/"], mounts, {r"my place\x/cpu.max": "100000 50000"}) == 2


@pytest.mark.parametrize("groups", ["", "\n\n", "0::", "0", "nonsense", "::::", "5:cpu", "0::/a\0b", "\xff"])
@pytest.mark.parametrize("mount", ["", "-", " - cgroup2", "1 2 3 - cgroup2 x y", "a b c / /x - cgroup", V2])
def test_files_that_make_no_sense(system, groups, mount):
    assert system(groups, [mount], {}) == math.inf


def test_no_files(tmp_path):
    assert cpu_limit(tmp_path) == math.inf
    (tmp_path / "proc/self/cgroup").mkdir(parents=True)  # which cannot be read
    cpu_limit.cache_clear()
    assert cpu_limit(tmp_path) == math.inf


def test_files_are_read_once(system, monkeypatch):
    assert system(["0::/"], [V2.format(root="/", point="/x")], {"x/cpu.max": "3 1"}) == 3
    monkeypatch.setattr(module, "_read", None)
    assert system(["0::/"], [V2.format(root="/", point="/x")], {"x/cpu.max": "5 1"}) == 3


@pytest.mark.parametrize(
    ("allowed", "limit", "expected"),
    [(64, math.inf, 64), (64, 2.0, 2), (64, 1.5, 2), (64, 0.05, 1), (2, 8.0, 2), (1, 1.0, 1)],
)
def test_cores(monkeypatch, allowed, limit, expected):
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)))
    else:
        monkeypatch.setattr(os, "cpu_count", lambda: allowed)
    monkeypatch.setattr(module, "cpu_limit", lambda: limit)
    monkeypatch.delenv("XPCONV_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cores() == expected
    assert count_from_environment() == (expected, "")
