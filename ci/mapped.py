"""Train from a memory-mapped file of 8 GB with less than 1 GB of resident memory (Linux).

    python3 ci/mapped.py                            # writes 8 GB to a temporary file, which it removes
    python3 ci/mapped.py --gib 1 --folder /var/tmp

The file has uint8 images, whose pixels follow from their number, so that each batch can be checked. Two dozen
steps train on random batches, with two workers; then one epoch is read in order. It fails if a pixel is wrong
or if the peak of the resident memory, which includes mapped pages, is above the limit.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import xpconv
from xpconv.data import batches

SHAPE = (3, 64, 64)
PIXELS = int(np.prod(SHAPE))
CHUNK = 4096  # images that are written at once
ROWS = sliding_window_view((np.arange(PIXELS + 250) * 7 % 251).astype("uint8"), PIXELS)


def images_of(numbers: np.ndarray) -> np.ndarray:
    """The images of these numbers: the number in 8 bytes, then pixels that begin at another place each."""
    images = ROWS[numbers % 251]
    images[:, :8] = numbers.astype("<i8")[:, None].view("uint8")
    return images.reshape(-1, *SHAPE)


def write_set(path: Path, count: int) -> None:
    """A `.npy` file of `count` images, written in pieces."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *SHAPE)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for start in range(0, count, CHUNK):
            images_of(np.arange(start, min(start + CHUNK, count))).tofile(file)


def check(images: np.ndarray, numbers: np.ndarray) -> None:
    if not np.array_equal(images, images_of(numbers)):
        raise SystemExit("ci/mapped.py: a batch has other pixels than were written")


def scaled(batch: tuple[np.ndarray, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The images as float32, and their numbers; runs in the workers."""
    images, numbers = batch
    check(images, numbers)
    return images.astype("float32") / 255, numbers


def train(images: np.ndarray, numbers: np.ndarray, steps: int) -> float:
    """The loss after some steps on random batches."""
    model = xpconv.Sequential(
        xpconv.Conv2d(3, 16, 3, stride=2, rng=0), xpconv.ReLU(), xpconv.MaxPool2d(2),
        xpconv.Conv2d(16, 32, 3, rng=1), xpconv.ReLU(), xpconv.GlobalAvgPool2d(), xpconv.Flatten(),
        xpconv.Dense(32, 10, rng=2),
    )  # fmt: skip
    criterion, optimizer = xpconv.SoftmaxCrossEntropyLoss(), xpconv.Adam(model.parameters())
    loader = batches(images, numbers, 128, shuffle=True, seed=0, transform=scaled, workers=2)
    for _, (x, number) in zip(range(steps), loader, strict=False):
        loss = criterion(model(x), number % 10)
        optimizer.zero_grad()
        model.backward(criterion.backward(), input_grad=False)
        optimizer.step()
    return float(loss)


def status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=8.0, help="size of the file")
    parser.add_argument("--limit", type=float, default=1.0, help="largest resident memory in GiB")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--folder", help="where the file is made; not a tmpfs, which is memory")
    args = parser.parse_args()
    count = max(256, int(args.gib * 2**30) // PIXELS)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path, begin = Path(folder) / "images.npy", time.perf_counter()
        write_set(path, count)
        print(f"{path.stat().st_size / 2**30:.2f} GiB written in {time.perf_counter() - begin:.0f} s")
        images, numbers = np.load(path, mmap_mode="r"), np.arange(count)
        begin = time.perf_counter()
        print(f"loss after {args.steps} steps: {train(images, numbers, args.steps):.4f}", end="")
        print(f", {time.perf_counter() - begin:.1f} s, peak {status('VmHWM') / 2**20:.0f} MiB")
        begin = time.perf_counter()
        for part, number in batches(images, numbers, 256):
            check(part[:2], number[:2])
        print(
            f"one epoch in order: {time.perf_counter() - begin:.1f} s, peak {status('VmHWM') / 2**20:.0f} MiB"
        )
        del images, part
    if not 0 < status("VmHWM") < args.limit * 2**30:
        sys.exit(f"ci/mapped.py: the peak is above {args.limit} GiB")


if __name__ == "__main__":
    main()
