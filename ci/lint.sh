#!/usr/bin/env bash
# Lint, format and types, in the active virtual environment, which has the extra `lint`.
set -euo pipefail
cd "$(dirname "$0")/.."

ruff check .
ruff format --check .
mypy
