#!/usr/bin/env bash
# What CI runs on a machine with an NVIDIA GPU: all tests, where a missing device is a failure, and the example on the
# device. Needs CuPy installed. Give a folder with MNIST's IDX files to train on them.
# Without a network, the tests alone: XPCONV_REQUIRE_GPU=1 python3 -m pytest -m 'slow or not slow'
set -euo pipefail
cd "$(dirname "$0")/.."

export XPCONV_REQUIRE_GPU=1
bash ci/tests.sh
XPCONV_BACKEND=cupy python3 examples/train_mnist.py ${1:+--data mnist --data-dir "$1"}
# The figures, which also run the suite: python3 benchmarks/gpu.py ${1:+--mnist "$1"}
