#!/usr/bin/env bash
# Build the site into site/, or into the folder that you give; a warning is an error, as is a link or an anchor that
# leads nowhere (`--quiet` would not count them). `pip install -e ".[docs]"` has what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

export NO_MKDOCS_2_WARNING=1 PYTHONPATH="$PWD"
python3 -m mkdocs build --strict --site-dir "${1:-site}"
