#!/bin/sh
# Installs what is missing and opens the page: ./start.sh
set -eu
cd "$(dirname "$0")"
sh ./setup.sh requirements.txt
exec .venv/bin/python app.py "$@"
