#!/usr/bin/env bash
# All tests, in the active virtual environment: the README's own test command, with the tests marked slow.
set -euo pipefail
cd "$(dirname "$0")/.."

unset PYTHONDONTWRITEBYTECODE  # or each process that a test starts compiles the package again
tests=$(grep -m1 'python3 -m pytest$' README.md)
echo "README: $tests"
bash -c "$tests -m 'slow or not slow'"
