#!/usr/bin/env bash
# The types of all public names, as a user's type checker sees them: `pyright --verifytypes` must find at least LEAST
# per cent of them complete, and no error in the README's code. Needs Node.js, without which it is skipped. LIST=1 shows
# what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
LEAST=95

command -v node > /dev/null || { echo "skipped: pyright needs Node.js (node is not on the path)"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYRIGHT_PYTHON_IGNORE_WARNINGS=1
unset PYTHONPATH

python3 -m venv "$work/environment"
source "$work/environment/bin/activate"
python3 -m pip install --quiet "pyright>=1.1.400" numpy
cp -r xpconv "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"  # as an installed package
sed -n '/^```python$/,/^```$/{/^```/!p}' README.md > "$work/readme.py"
(cd "$work" && pyright readme.py)
(cd "$work" && pyright --verifytypes xpconv --ignoreexternal --outputjson) > "$work/report.json" || true
python3 - "$work/report.json" "$LEAST" << 'END'
import json, os, sys

report, least = json.load(open(sys.argv[1]))["typeCompleteness"], float(sys.argv[2])
counts, score = report["exportedSymbolCounts"], 100 * report["completenessScore"]
if os.environ.get("LIST"):
    for symbol in report["symbols"]:
        for problem in symbol["diagnostics"]:
            place = problem.get("range", {}).get("start", {}).get("line", -1) + 1
            print(f"{problem.get('file', '')}:{place}: {symbol['name']}: {problem['message']}")
print(f"types: {counts['withKnownType']} of {sum(counts.values())} public names are complete, {score:.1f} %")
if score < least:
    sys.exit(f"expected at least {least} %; LIST=1 bash ci/types.sh lists what is missing")
END
