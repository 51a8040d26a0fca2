#!/usr/bin/env bash
# Style and types: ruff's rules, ruff's format, mypy (strict below the faces).
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${VENV:-.venv}/bin
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/mypy"
