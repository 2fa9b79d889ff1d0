#!/usr/bin/env bash
# The distributions: builds the sdist and the wheel, checks what is in them, and installs the wheel without the
# repository in an empty environment of each Python from 3.10 to 3.13 that this machine has (or of those that are given:
# `bash ci/package.sh 3.10 3.13`), with the oldest NumPy that xpconv takes and then with the newest; there ci/smoke.py
# runs. OUT=folder keeps the distributions. Takes about a minute, and the network.
set -euo pipefail
cd "$(dirname "$0")/.."
MOST_KB=1000  # size of the wheel: a third is docstrings and comments, a tenth the headers of its 400 files

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=${OUT:-$work/dist}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONPATH PYTHONDONTWRITEBYTECODE

python3 -m venv "$work/tools"
tools=$work/tools/bin/python
"$tools" -m pip install --quiet build twine
"$tools" -m build --outdir "$out" . > "$work/build.log" 2>&1 || { tail -30 "$work/build.log"; exit 1; }
"$tools" -m twine check --strict "$out"/xpconv-*
"$tools" ci/distributions.py "$out" "$MOST_KB"

# python_of 3.12: its path, if it is installed: on the path, or by pyenv or uv
python_of() {
    local found
    for found in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python \
        "$(command -v uv > /dev/null && uv python find --offline "$1" 2> /dev/null || true)"; do
        if [ -x "$found" ] && "$found" -c 'import ctypes, ssl, venv, zlib' 2> /dev/null; then echo "$found"; return; fi
    done
}

# smoke requirement…: installs them in the environment, and runs ci/smoke.py outside of the repository.
smoke() {
    "$environment/bin/python" -m pip install --quiet --no-compile --only-binary :all: --upgrade "$@"
    (cd "$work" && "$environment/bin/python" -W error smoke.py ${README:-})
}

cp ci/smoke.py README.md "$work"
wheel=$(echo "$out"/*.whl)
environment=
[ $# -gt 0 ] || set -- 3.10 3.11 3.12 3.13
for version; do
    python=$(python_of "$version")
    [ -n "$python" ] || { echo "skipped: no Python $version on this machine"; continue; }
    environment=$work/environment-$version
    "$python" -m venv "$environment"  # with its own pip: an older one does not run on a newer Python
    oldest='numpy~=2.0.0'
    [ "$version" = 3.13 ] && oldest='numpy~=2.1.0'  # the first one that has wheels for it
    smoke "$wheel" "$oldest"
    smoke numpy
done
[ -n "$environment" ] || { echo "none of Python $* is installed"; exit 1; }
README=README.md smoke "$wheel[train,sklearn]"
