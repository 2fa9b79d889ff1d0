"""The command line: `xpconv train`, `predict`, `evaluate`, `export` and `info`, or `python -m xpconv`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from .options import parse

__all__ = ["main"]

FAILED, INTERRUPTED = 1, 130  # exit statuses, besides 0 and argparse's 2
REMEDIES = {  # in errors of the library: what the command line has in place of an argument
    "give size=": "give --size",
    "give on_error='skip'": "give --skip-damaged",
    "give download=True": "leave out --data-dir, to download it",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. The exit status is 0, or 1 if it failed, 2 for wrong arguments and 130 after Ctrl-C."""
    from ..errors import BatchError, LayerError

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it is closed, or there is no console
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # for the process
    for stream in (sys.stdout, sys.stderr):  # letters that a terminal or a pipe has not are escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = parse(arguments)
    try:
        if options.backend:
            from ..backend import set_backend

            set_backend(options.backend)
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has seen enough
        _discard_output()
        return FAILED
    except KeyboardInterrupt:
        print("\nxpconv: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError, BatchError, LayerError) as error:
        text = str(error.__cause__ if isinstance(error, BatchError) and error.__cause__ else error)
        text = text or type(error).__name__
        for argument, option in REMEDIES.items():
            text = text.replace(argument, option)
        print(f"xpconv: {text}", file=sys.stderr)
        return FAILED
    return status


def _discard_output() -> None:
    """Let the interpreter write the rest of standard output nowhere, so that its exit raises no error."""
    with open(os.devnull, "wb") as nowhere, suppress(OSError):  # a stream without a file descriptor
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
