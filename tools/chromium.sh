#!/usr/bin/env bash
# Finds a Chromium for the console's tests, or installs Debian's or Ubuntu's where that needs no password.
# Never fails: without one those tests are reported as missing, and fail on CI.
set -uo pipefail

for name in "${SOJOURN_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [[ -n $name ]] && command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done

as_root=()
if ((EUID != 0)); then
    if ! sudo -n true 2>/dev/null; then
        echo "There is no Chromium here, and installing one needs root. The console's tests will be missing:" >&2
        echo "install the package chromium, or set SOJOURN_CHROMIUM to a Chromium or Chrome." >&2
        exit 0
    fi
    as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "There is no Chromium here, and no apt-get to install one with. The console's tests will be missing:" >&2
    echo "install Chromium, or set SOJOURN_CHROMIUM to it." >&2
    exit 0
fi
echo "Installing Chromium for the console's tests (Debian package chromium)"
{ "${as_root[@]}" apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
} >/dev/null 2>&1 || echo "Chromium could not be installed. The console's tests will be missing." >&2
exit 0
