#!/usr/bin/env bash
# Writes requirements/runtime.txt and requirements/dev.txt: names and hashes, for every Python and platform we support.
#
#   make lock                       keeps the versions that are locked, adds what is new
#   tools/lock.sh --upgrade         takes the newest versions (options are passed on to `uv pip compile`)
#   tools/lock.sh --upgrade-package ruff
#
# A requirements file and not a lock file of some tool: pip alone can install it, with --require-hashes, and it names no
# place to download from, so a mirror does as well.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv

lock() { # lock OUTPUT [option...]
    local output=$1
    shift
    "$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        "$@" --output-file "$output" pyproject.toml requirements/build.in
    { echo '# Names and hashes only. Written by `make lock`; edit pyproject.toml instead.'; cat "$output"; } >"$work/text"
    cat "$work/text" >"$output"
    if grep -nE '://|^ *-[a-z-]|^[^#]*@|[ =]/|\.whl|\.tar' "$output" | grep -v -- '--hash=sha256:'; then
        echo "$output names a place to download from (above); it must hold names and hashes only" >&2
        exit 1
    fi
    echo "$output: $(grep -c '==' "$output") packages"
}

lock requirements/dev.txt --extra dev "$@"
# What runs is a part of what is tested: the same versions.
lock requirements/runtime.txt --extra cli --extra service --constraints requirements/dev.txt
