#!/usr/bin/env bash
# Installs ama into an environment of its own, which the runner deletes after the job.
set -euo pipefail

# -I: else Python would take modules from the checkout, such as a logging.py, for its own.
"$AMA_ACTION_PYTHON" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo '::error::ama needs Python 3.11 or newer: use actions/setup-python, or the input python'
    exit 1
}
environment=$RUNNER_TEMP/ama-action
if [[ ! -d $environment ]]; then
    "$AMA_ACTION_PYTHON" -I -m venv "$environment"
fi
bin=$environment/bin
if [[ -d $environment/Scripts ]]; then bin=$environment/Scripts; fi
"$bin/python" -I -m pip --disable-pip-version-check --quiet install -- "$AMA_ACTION_PACKAGE"
