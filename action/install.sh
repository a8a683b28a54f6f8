#!/usr/bin/env bash
# Installs ama into an environment of its own, which the runner deletes after the job.
set -euo pipefail

"$AMA_ACTION_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo '::error::ama needs Python 3.11 or newer: use actions/setup-python, or the input python'
    exit 1
}
environment=$RUNNER_TEMP/ama-action
if [[ ! -d $environment ]]; then
    "$AMA_ACTION_PYTHON" -m venv "$environment"
fi
bin=$environment/bin
if [[ -d $environment/Scripts ]]; then bin=$environment/Scripts; fi
"$bin/python" -m pip --disable-pip-version-check --quiet install -- "$AMA_ACTION_PACKAGE"
