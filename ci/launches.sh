#!/usr/bin/env bash
# What CI runs with CuPy but without a GPU, in the active virtual environment, which has PyTorch and gcc: tests of
# launches, copies, waiting and devices in CuPy's host code, on a simulated driver. Under a minute, mostly the download.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 -m pip install --quiet cupy-cuda13x==14.2.0 pytest
mapfile -t tests < <(grep -rl --include='test_*.py' '^launches.require()' tests)
XPCONV_REQUIRE_CUPY=1 python3 -m pytest "${tests[@]}"
