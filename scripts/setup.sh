#!/usr/bin/env bash
# Make the virtual environment and install the package into it. Usage: scripts/setup.sh all|dev
# VENV names the folder (default .venv), PYTHON the interpreter; REFIT_NO_SETUP=1 takes VENV as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

extra=${1:?usage: scripts/setup.sh all|dev}
venv=${VENV:-.venv}

if [ "${REFIT_NO_SETUP:-0}" = 1 ]; then
    exit 0
fi

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "setup: Python 3.11 or later is needed; set PYTHON=/path/to/python3.11" >&2
    return 1
}

fingerprint() {
    "$venv/bin/python" - "$PWD" setup.cfg pyproject.toml constraints.txt <<'PY'
import hashlib, pathlib, sys
digest = hashlib.sha256(repr((sys.version, sys.argv[1])).encode())
for name in sys.argv[2:]:
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PY
}

if ! new_enough "$venv/bin/python"; then
    python=$(find_python)
    echo "setup: making $venv with $("$python" --version)"
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv --clear "$venv"
    else
        "$python" -m venv --clear --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install --disable-pip-version-check --quiet pip
    fi
fi

# An environment with the "dev" extra serves "all" too.
now=$(fingerprint)
for stamped in "$extra" dev; do
    if [ "$(cat "$venv/.refit-$stamped" 2>/dev/null)" = "$now" ]; then
        exit 0
    fi
done

echo "setup: installing napari-refit[$extra] into $venv (the first time downloads several gigabytes)"
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[$extra]"
fingerprint >"$venv/.refit-$extra"
