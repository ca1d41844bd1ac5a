#!/usr/bin/env bash
# Installs what the tests use of Debian's or Ubuntu's packages, where it is not there and needs no password: a Chromium for the
# console, PgBouncer, Redis beside the Valkey of the wheel, and the shells zsh and fish. No service is started, now or at the next boot.
# Never fails: tests that miss one of them are reported as missing, and fail on CI.
set -uo pipefail

found() {
    local name
    for name in "$@"; do
        if [[ -n $name ]] && PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$name" >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}

packages=()
found "${SOJOURN_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable ||
    packages+=(chromium fonts-dejavu-core)
found "${SOJOURN_PGBOUNCER:-}" pgbouncer || packages+=(pgbouncer)
found "${SOJOURN_REDIS_BIN:-}" redis-server valkey-server || packages+=(redis-server)
found zsh || packages+=(zsh)
found fish || packages+=(fish)
((${#packages[@]})) || exit 0

missing() {
    echo "The tests would use ${packages[*]}, but $1. Tests of these will be missing:" >&2
    echo "install them, or name programs (SOJOURN_CHROMIUM, SOJOURN_PGBOUNCER, SOJOURN_REDIS_BIN)." >&2
    exit 0
}

as_root=()
if ((EUID != 0)); then
    sudo -n true 2>/dev/null || missing "installing them needs root"
    as_root=(sudo -n)
fi
command -v apt-get >/dev/null 2>&1 || missing "there is no apt-get to install them with"

# Debian's way to say that an installation starts nothing (invoke-rc.d asks this program).
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null && "${as_root[@]}" chmod 755 "$policy" &&
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

echo "Installing for the tests, with apt-get: ${packages[*]}"
"${as_root[@]}" apt-get update -qq >/dev/null 2>&1
for package in "${packages[@]}"; do
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
        echo "$package could not be installed. Tests that use it will be missing." >&2
    if command -v systemctl >/dev/null 2>&1 && [[ $package == pgbouncer || $package == redis-server ]]; then
        "${as_root[@]}" systemctl disable --quiet "$package" >/dev/null 2>&1
    fi
done
exit 0
