#!/usr/bin/env bash
# Run a command with an X display: $DISPLAY where it answers, else an Xvfb of its own that ends with the command.
# Usage: scripts/with_display.sh COMMAND...; scripts/with_display.sh --check (exit 0: there is a display to see).
# REFIT_XVFB=1 takes Xvfb even where there is a display.
set -euo pipefail

display_answers() {
    [ -n "${DISPLAY:-}" ] || return 1
    python3 - "$DISPLAY" <<'PY' 2>/dev/null
import re, socket, sys
host, number = re.fullmatch(r"(?:unix/?)?([^:]*):(\d+)(?:\.\d+)?", sys.argv[1]).groups()
family = socket.AF_INET if host else socket.AF_UNIX
address = (host, 6000 + int(number)) if host else f"/tmp/.X11-unix/X{number}"
with socket.socket(family) as connection:
    connection.settimeout(5)
    connection.connect(address)
PY
}

wayland_answers() { [ -n "${WAYLAND_DISPLAY:-}" ] && [ -S "${XDG_RUNTIME_DIR:-/nowhere}/$WAYLAND_DISPLAY" ]; }

if [ "${1:-}" = --check ]; then
    [ "$(uname -s)" != Linux ] || display_answers || wayland_answers
    exit
fi

if [ "$(uname -s)" != Linux ] || { [ "${REFIT_XVFB:-0}" != 1 ] && display_answers; }; then
    exec "$@"
fi

if ! command -v Xvfb >/dev/null; then
    echo "with_display: neither a display nor Xvfb; scripts/system_packages.sh says what to install" >&2
    exit 1
fi

folder=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

Xvfb -displayfd 3 -screen 0 1600x1200x24 +extension GLX +render -noreset -nolisten tcp \
    3>"$folder/number" >"$folder/log" 2>&1 </dev/null &
server=$!
for _ in $(seq 300); do
    [ ! -s "$folder/number" ] || break
    if ! kill -0 "$server" 2>/dev/null; then
        break
    fi
    sleep 0.1
done
if [ ! -s "$folder/number" ]; then
    echo "with_display: Xvfb did not start:" >&2
    cat "$folder/log" >&2
    exit 1
fi

unset WAYLAND_DISPLAY XAUTHORITY
DISPLAY=:$(tr -d '[:space:]' <"$folder/number")
export DISPLAY LIBGL_ALWAYS_SOFTWARE=1 QT_QPA_PLATFORM=xcb
"$@"
