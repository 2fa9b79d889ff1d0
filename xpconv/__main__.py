"""The command line: `python -m xpconv info`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 if an environment variable is invalid or the backend unusable."""
    parser = argparse.ArgumentParser(prog="python -m xpconv", description="CNN layers on NumPy and CuPy.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("info", help="backend, device, versions, threads and BLAS, with advice")
    parser.parse_args(arguments)

    from .info import collect, report

    try:
        facts = collect()
    except ValueError as error:  # an invalid environment variable
        print(f"python -m xpconv: {error}", file=sys.stderr)
        return 1
    print(report(facts))
    return 1 if facts.backend_error else 0


if __name__ == "__main__":
    sys.exit(main())
