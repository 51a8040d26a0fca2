#!/usr/bin/env bash
# The demo: napari with the docks where there is a display, else files and a picture in demo-output/.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${VENV:-.venv}/bin/napari-refit
if scripts/with_display.sh --check; then
    exec "$program" demo "$@"
fi

echo "demo: no display here, so the demo writes to demo-output/"
wrapper=(scripts/with_display.sh)
if ! command -v Xvfb >/dev/null; then
    wrapper=()
fi
${wrapper[@]+"${wrapper[@]}"} "$program" demo --headless --out demo-output "$@"
ls -l demo-output
