"""What each trick of the NumPy kernels earns: training and inference without it, over the same with it.

python3 benchmarks/ablation.py                                     # every trick; half an hour
python3 benchmarks/ablation.py --tricks 'winograd|stripes' --only '^training: '

A trick is taken out by replacing one name of the library in a process of its own, which takes turns with one
that has them all (see `compare.py`). A trick that earns less than 3 % in training and in inference should go.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import measure

Record = dict[str, Any]
WORTH = 1.03  # the ratio from which a trick earns its place
KERNELS, ENGINE = "xpconv.kernels.numpy", "xpconv.kernels.engine"
OVERRIDES = "xpconv.kernels:_overrides.numpy"


class Trick(NamedTuple):
    """A name of the library, as `module:attribute` or `module:owner.attribute`, and what takes its place.

    The owner is a class or a dictionary. `without` gets the present value and returns the one that leaves
    the trick out.
    """

    place: str
    without: Callable[[Any], Any]

    def take_out(self) -> contextlib.ExitStack:
        """Replace the name wherever it was imported to; closing what is returned puts it back.

        Plans and caches are dropped both times, since they hold what was decided with the trick.

        Raises:
            LookupError: the library has no such name any more.
        """
        module, _, path = self.place.partition(":")
        *owners, name = path.split(".")
        import_module("xpconv.kernels").overrides(import_module("numpy"))  # loads them
        try:
            owner: Any = import_module(module)
            for step in owners:
                owner = names_of(owner)[step]
            old = names_of(owner)[name]
        except (ImportError, KeyError) as error:
            raise LookupError(
                f"benchmarks/ablation.py: there is no {self.place} any more: give the trick its new place in "
                "TRICKS, or remove its row if the trick is gone"
            ) from error

        def put(holder: Any, value: Any) -> None:
            if isinstance(holder, dict):
                holder[name] = value
            else:
                setattr(holder, name, value)

        new = self.without(old)
        undo = contextlib.ExitStack()
        undo.callback(forget)
        for holder in [owner] if owners else [m for m in library() if vars(m).get(name) is old]:
            undo.callback(put, holder, old)
            put(holder, new)
        forget()
        return undo


def names_of(owner: Any) -> Any:
    """The values of a module, class or dictionary by name."""
    return owner if isinstance(owner, dict) else vars(owner)


def library() -> list[Any]:
    """The library's modules that are loaded."""
    return [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "xpconv"]


def forget() -> None:
    """Drop all plans and everything that the library's functions remember."""
    import_module("xpconv").free_memory()
    for module in library():
        for value in list(vars(module).values()):
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def always(value: Any) -> Callable[[Any], Any]:
    """In place of a function, one that returns the same whatever it is given."""
    return lambda old: lambda *args, **options: value


def whole(cut: Any) -> Any:
    """Blocks as large as threads allow, whatever the limit of bytes is."""

    def uncut(images: int, rows: int, row_bytes: int, limit: int, elements: float = math.inf) -> Any:
        return cut(images, rows, row_bytes, 1 << 62, elements)

    return uncut


def channels_first(conv: Any) -> Any:
    """A convolution whose output has its channels before its pixels in memory."""

    def convolve(xp: Any, *args: Any, **options: Any) -> Any:
        return xp.ascontiguousarray(conv(xp, *args, **options))

    return convolve


def one_by_one(run: Any) -> Any:
    """The layers of a fused model called in turn."""

    def call(inference: Any, container: Any, x: Any) -> Any:
        for layer in container:
            x = layer(x)
        return x

    return call


TRICKS = {
    "threads": Trick(f"{ENGINE}.threads:share", always(1)),
    "BLAS at one thread inside kernels": Trick(f"{ENGINE}.blas:set_num_threads", lambda old: None),
    "plans": Trick(f"{ENGINE}.plans:Arena._has_room", always(False)),
    "buffer pool": Trick(f"{ENGINE}.memory:empty", lambda old: import_module("numpy").empty),
    "blocks that fit the cache": Trick(f"{KERNELS}.blocks:cut", whole),
    "threads for output channels": Trick(f"{KERNELS}.blocks:channel_pieces", always([slice(None)])),
    "channels last between layers": Trick(f"{OVERRIDES}.conv", channels_first),
    # an override that returns None leaves the operation to its reference
    "own add": Trick(f"{OVERRIDES}.add", always(None)),
    "own arithmetic": Trick(f"{OVERRIDES}.arithmetic", always(None)),
    "own batch_norm_backward": Trick(f"{OVERRIDES}.batch_norm_backward", always(None)),
    "own affine": Trick(f"{OVERRIDES}.affine", always(None)),
    "own clip": Trick(f"{OVERRIDES}.clip", always(None)),
    "own clip_backward": Trick(f"{OVERRIDES}.clip_backward", always(None)),
    "own clipped_line": Trick(f"{OVERRIDES}.clipped_line", always(None)),
    "own concatenate": Trick(f"{OVERRIDES}.concatenate", always(None)),
    "own global_avg_pool": Trick(f"{OVERRIDES}.global_avg_pool", always(None)),
    "own hardsigmoid": Trick(f"{OVERRIDES}.hardsigmoid", always(None)),
    "own inverse_std": Trick(f"{OVERRIDES}.inverse_std", always(None)),
    "own joint_input_grad": Trick(f"{OVERRIDES}.joint_input_grad", always(None)),
    "own in_blocks": Trick(f"{OVERRIDES}.in_blocks", always(None)),
    "own matmul": Trick(f"{OVERRIDES}.matmul", always(None)),
    "own max_pool": Trick(f"{OVERRIDES}.max_pool", always(None)),
    "own max_pool_backward": Trick(f"{OVERRIDES}.max_pool_backward", always(None)),
    "own reshape": Trick(f"{OVERRIDES}.reshape", always(None)),
    "own sigmoid": Trick(f"{OVERRIDES}.sigmoid", always(None)),
    "own silu": Trick(f"{OVERRIDES}.silu", always(None)),
    "own statistics": Trick(f"{OVERRIDES}.statistics", always(None)),
    "own sum_pool": Trick(f"{OVERRIDES}.sum_pool", always(None)),
    "own sum_pool_backward": Trick(f"{OVERRIDES}.sum_pool_backward", always(None)),
    "algorithm batch_last": Trick(f"{KERNELS}.batchlast:pays", always(False)),
    "algorithm stripes": Trick(f"{KERNELS}.stripes:cost", always(math.inf)),
    "algorithm winograd": Trick(f"{KERNELS}.winograd:cost", always(math.inf)),
    "algorithm fft": Trick("xpconv.kernels.fft:pays", always(False)),
    "algorithm planar": Trick(f"{KERNELS}.planar:pays", always(False)),
    "planar gradients of weights": Trick(f"{KERNELS}.planar:pays_to_weight", always(False)),
    "gradients of 1×1 weights with one side transposed": Trick(
        f"{KERNELS}.planar:MANY_CHANNELS", lambda old: math.inf
    ),
    "channels last before columns": Trick(f"{KERNELS}.columns:SEVERAL", lambda old: math.inf),
    "windows in a row share columns": Trick(f"{KERNELS}.batchlast:overlap", always(False)),
    "rows of columns filled up": Trick(f"{KERNELS}.planar:filled", lambda old: int),
    "few channels copied one by one": Trick(f"{KERNELS}.blocks:FEW_CHANNELS", lambda old: 0),
    "rows of windows copied as elements": Trick(f"{KERNELS}.columns:SHORT_RUN", lambda old: 0),
    "algorithm depthwise": Trick(f"{KERNELS}.depthwise:fits", always(False)),
    "dense weights transposed in inference plans": Trick(
        f"{KERNELS}.linear:transposition_pays", always(False)
    ),
    "input gradient as a convolution": Trick(f"{KERNELS}.conv:_mirrored_window", always(None)),
    "products in pieces": Trick(f"{KERNELS}.products:piece_size", always(0)),
    "BatchNorm in long rows": Trick(f"{KERNELS}.channel_sums:_repeat", always(1)),
    "ReLU in the pass of the layer before": Trick("xpconv.layers.fusion:clips", always(False)),
    "MaxPool before ReLU": Trick("xpconv.layers.fusion:_commutes", always(False)),
    "BatchNorm folded": Trick("xpconv.layers.fuse:_fits", always(False)),
    "inference plans": Trick("xpconv.layers.inference:Inference.run", one_by_one),
    "weights prepared in inference plans": Trick(f"{ENGINE}.recording:is_frozen", always(False)),
}


def means(records: list[Record]) -> dict[str, float]:
    """The geometric mean of each section."""
    sections = dict.fromkeys(r["section"] for r in records)
    return {s: measure.geometric_mean([r["ratio"] for r in records if r["section"] == s]) for s in sections}


def table(records: list[Record]) -> Iterator[str]:
    """A row for each trick: means, and the work to which it matters most; then the tricks to remove."""
    tricks = dict.fromkeys(r["trick"] for r in records)
    sections = list(dict.fromkeys(r["section"] for r in records))
    yield "without / with".ljust(40) + "".join(s.rjust(len(s) + 3) for s in sections) + "   most"
    poor = []
    for trick in tricks:
        mine = [r for r in records if r["trick"] == trick]
        found, most = means(mine), max(mine, key=lambda r: r["ratio"])
        cells = "".join(f"{found[s]:.3f}".rjust(len(s) + 3) for s in sections)
        yield f"{trick.ljust(40)}{cells}   {most['ratio']:.2f} {most['section']}: {most['work']}"
        poor += [trick] if max(found.values()) < WORTH else []
    yield ""
    yield f"less than {WORTH - 1:.0%} in each mean: {', '.join(poor) or 'none'}"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, write."""
    import compare

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    compare.add_options(parser, measure.HERE / "results" / "ablation.json", starts=1)
    parser.add_argument("--tricks", metavar="REGEX", default="", help="of a trick's name; default: all")
    args = parser.parse_args(argv)
    tricks = [trick for trick in TRICKS if re.search(args.tricks, trick)]
    if not tricks:
        parser.error(f"--tricks {args.tricks!r} matches none of {', '.join(TRICKS)}")
    root = measure.HERE.parent
    machine, works = compare.works_of(parser, args, root)
    records: list[Record] = []
    for trick in tricks:
        print(trick, file=sys.stderr)
        sides = {
            "with": functools.partial(compare.Server, root, args.threads),
            "without": functools.partial(compare.Server, root, args.threads, trick),
        }
        records += [
            {"trick": trick, **r} for r in compare.time_in_turn(sides, works, args.starts, args.rounds)
        ]
    print(*table(records), sep="\n")
    result = {"date": time.strftime("%Y-%m-%d %H:%M %z"), "machine": machine, "records": records}
    print(f"wrote {measure.write(args.out, result)}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
