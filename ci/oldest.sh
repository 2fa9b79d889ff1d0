#!/usr/bin/env bash
# The oldest versions of the extras that pyproject.toml allows (ci/oldest.txt): those parts of the suite that use them.
# In a fresh environment of Python 3.11, for which all of these have wheels. Takes less than two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(command -v python3.11 || command -v python3)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONPATH PYTHONDONTWRITEBYTECODE

"$python" -m venv "$work"
"$work/bin/python" -m pip install --quiet --only-binary :all: -r ci/oldest.txt
"$work/bin/python" -m pip install --quiet --no-deps .
"$work/bin/python" -m pip check
# Not all: cases of onnx 1.17's own reference that are wrong there are in the other files of tests/onnx.
"$work/bin/python" -m pytest -q -n 2 --dist worksteal \
    tests/test_publishing.py \
    tests/files/test_model.py tests/files/test_atomic.py tests/files/test_encoding.py \
    tests/plot/test_pictures.py tests/data/test_image_files.py tests/data/test_folder.py tests/train/test_history.py \
    tests/sklearn/test_inputs.py tests/sklearn/test_model_selection.py tests/sklearn/test_targets.py \
    tests/onnx/test_export.py tests/onnx/test_load.py tests/onnx/test_round_trip.py \
    tests/distributed/test_parts.py tests/distributed/test_parallel.py
