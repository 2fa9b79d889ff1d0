#!/usr/bin/env bash
# All tests, in the active virtual environment: the README's own test command, with the tests marked slow. A test that
# takes ten minutes hangs: its process prints where, and ends; pytest reports it and goes on with the others.
set -euo pipefail
cd "$(dirname "$0")/.."

unset PYTHONDONTWRITEBYTECODE  # or each process that a test starts compiles the package again
tests=$(grep -m1 'python3 -m pytest$' README.md)
echo "README: $tests"
bash -c "$tests -m 'slow or not slow' -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true"
