#!/usr/bin/env bash
# What CI runs on a machine with an NVIDIA GPU: the same tests, where a missing device is a failure, and MNIST
# on it. Needs CuPy and the test extra installed. Give a folder with MNIST's IDX files to train on them.
set -euo pipefail
cd "$(dirname "$0")/.."

export XPCONV_REQUIRE_GPU=1
python3 -m pytest
XPCONV_BACKEND=cupy python3 examples/train_mnist.py ${1:+--data mnist --data-dir "$1"}
