#!/usr/bin/env bash
# What CI runs without a GPU, in the active virtual environment: the README's own test command, with the tests
# marked slow; lint; types.
set -euo pipefail
cd "$(dirname "$0")/.."

unset PYTHONDONTWRITEBYTECODE  # or each process that a test starts compiles the package again
tests=$(grep -m1 'python3 -m pytest$' README.md)
echo "README: $tests"
bash -c "$tests -m 'slow or not slow'"

python3 -m pip install --quiet -e ".[lint]"
ruff check .
ruff format --check .
mypy
