#!/usr/bin/env bash
# Install the system libraries that Qt, OpenGL and Xvfb need, where they are missing (Debian and Ubuntu).
# Elsewhere, or without the right to install, say what is expected. Exit 0: all there; 1: something is missing.
# With the argument "browser" also what Chromium (PyQt6-WebEngine) needs, in which the tests open reports.
# REFIT_SYSTEM_PACKAGES=check only reports.
set -uo pipefail

if [ "$(uname -s)" != Linux ]; then
    exit 0
fi

missing=()
want() { missing+=("$1"); }

libraries=$( (ldconfig -p || /sbin/ldconfig -p) 2>/dev/null)
library() { grep -qF "$1 " <<<"$libraries" || want "$2"; }

library libGL.so.1 libgl1
library libEGL.so.1 libegl1
library libGLX_mesa.so.0 libglx-mesa0
library libX11-xcb.so.1 libx11-xcb1
library libxkbcommon.so.0 libxkbcommon0
library libxkbcommon-x11.so.0 libxkbcommon-x11-0
library libxcb-cursor.so.0 libxcb-cursor0
library libxcb-icccm.so.4 libxcb-icccm4
library libxcb-image.so.0 libxcb-image0
library libxcb-keysyms.so.1 libxcb-keysyms1
library libxcb-randr.so.0 libxcb-randr0
library libxcb-render.so.0 libxcb-render0
library libxcb-render-util.so.0 libxcb-render-util0
library libxcb-shape.so.0 libxcb-shape0
library libxcb-sync.so.1 libxcb-sync1
library libxcb-xfixes.so.0 libxcb-xfixes0
library libxcb-xkb.so.1 libxcb-xkb1
library libdbus-1.so.3 libdbus-1-3
library libfontconfig.so.1 libfontconfig1
library libglib-2.0.so.0 libglib2.0-0

if [ "${1:-}" = browser ]; then
    library libXcomposite.so.1 libxcomposite1
    library libXdamage.so.1 libxdamage1
    library libXrandr.so.2 libxrandr2
    library libXtst.so.6 libxtst6
    library libasound.so.2 libasound2
    library libdrm.so.2 libdrm2
    library libgbm.so.1 libgbm1
    library libnspr4.so libnspr4
    library libnss3.so libnss3
    library libudev.so.1 libudev1
    library libxkbfile.so.1 libxkbfile1
fi

command -v Xvfb >/dev/null || want xvfb
if ! command -v fc-list >/dev/null || [ -z "$(fc-list)" ]; then
    want fontconfig
    want fonts-dejavu-core
fi
if command -v dpkg-query >/dev/null; then
    [ "$(dpkg-query -W -f='${db:Status-Status}' libgl1-mesa-dri 2>/dev/null)" = installed ] || want libgl1-mesa-dri
fi
if [ ! -x "${VENV:-.venv}/bin/python" ]; then
    python=${PYTHON:-python3}
    "$python" -c 'import ensurepip' 2>/dev/null || "$python" -m pip --version >/dev/null 2>&1 || want python3-venv
fi

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

if ! command -v apt-get >/dev/null; then
    echo "system packages: not found: ${missing[*]}" >&2
    echo "system packages: these are Debian's names; please install your system's equal ones" >&2
    exit 1
fi

# Since 2024 some libraries have another name; the old one is provided by several, so that apt takes none.
rename() {
    local place
    for place in "${!missing[@]}"; do
        if apt-cache show "${missing[place]}t64" >/dev/null 2>&1; then
            missing[place]+=t64
        fi
    done
}
rename

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
fi
if [ "${REFIT_SYSTEM_PACKAGES:-install}" = check ] || { [ ${#as_root[@]} -gt 0 ] && ! sudo -n true 2>/dev/null; }; then
    echo "system packages: please run this line once, then try again:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

echo "system packages: installing ${missing[*]}"
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" </dev/null; }
apt update || echo "system packages: the package lists could not be refreshed; trying with those at hand" >&2
rename
apt install -y --no-install-recommends "${missing[@]}" >/dev/null
