#!/bin/sh
# Installs what is missing and runs every check; arguments go to pytest: ./test.sh -k imaging
set -eu
cd "$(dirname "$0")"
sh ./setup.sh requirements.txt requirements-cohort.txt requirements-dev.txt

browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
if ! browser >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "medapp: no Chromium here: installing Debian's for the browser tests" >&2
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null || true
    fi
    browser >/dev/null || echo "medapp: no Chromium or Chrome: the browser tests are skipped (apt-get install chromium)" >&2
fi

failed=0
.venv/bin/ruff check . || failed=1
.venv/bin/lint-imports || failed=1
.venv/bin/mypy || failed=1
# In two processes, a file in one of them: a process begins anew after the test that ends it, which fails; the others go on.
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile --max-worker-restart 99 "$@" || failed=1
exit $failed
