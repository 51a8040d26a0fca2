#!/usr/bin/env bash
# Everything that must hold: style, types, doctests, unit tests, GUI tests in real windows.
# Arguments go to pytest; with any, style and types are left out: scripts/test.sh tests/fit -x
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${VENV:-.venv}/bin
if [ $# -eq 0 ]; then
    scripts/lint.sh
fi

# A window test that cannot open its window must not pass as skipped.
export REFIT_REQUIRE_GUI=1
# An empty path keeps napari away from the user's settings file.
export NAPARI_CONFIG=
scripts/with_display.sh "$bin/python" -m pytest "$@"
