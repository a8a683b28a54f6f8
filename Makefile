# Needs make and Python 3.11 or newer with pip; everything else goes into .venv.
#   make demo    the whole job on the bundled sample
#   make test    linters, types and tests
#   make integrations  the tests that need Keras, MLflow and others, in an environment of their own
#   make servers what the tests of remotes need beside Python packages: else they are skipped
#   make airflow the tests of the integration with Airflow, in venvs of their own

VENV := .venv
BIN := $(VENV)/bin
OTHERS := .venv-integrations
DEMO := demo
PYTEST_ARGS ?=
BENCH_ARGS ?=

# The first interpreter that is new enough; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for python in python3 python python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$python"; break; }; done)
# The tests sync thousands of small files: a disk in memory, if there is a large one, spares minutes.
MEMORY := $(shell test -w /dev/shm && test "$$(df -Pk /dev/shm | awk 'NR == 2 {print $$4}')" -gt 4000000 \
	&& echo /dev/shm)
# One more than there are cores, as many tests wait: for a server, a pause, a disk.
WORKERS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)))
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help venv dev demo test airflow integrations lint bench bench-peers bench-remotes bench-tracking bench-dashboard servers clean

help:
	@echo 'make demo    run the whole job on the bundled sample, in ./$(DEMO)'
	@echo 'make test    ruff, mypy and pytest (PYTEST_ARGS="-k name")'
	@echo 'make lint    ruff and mypy only'
	@echo 'make airflow tests in a real Airflow 3, and 2 (PYTEST_ARGS="-k name")'
	@echo 'make integrations  tests of the integrations, with their packages in $(OTHERS)'
	@echo 'make servers servers for the tests of remotes; needs npm'
	@echo 'make bench   benchmarks (BENCH_ARGS="--quick")'
	@echo 'make bench-peers     the same beside restic, borg and git, as far as they are there'
	@echo 'make bench-tracking  the same of questions about 10,000 assets (BENCH_ARGS="--quick")'
	@echo 'make bench-dashboard  the pages of the dashboard about as many (BENCH_ARGS="--quick")'
	@echo 'make bench-remotes   the same of remotes, behind 20 ms (BENCH_ARGS="--quick")'
	@echo 'make clean   remove what these made'

# The venv is made again only when pyproject.toml changed: the package is installed editable, so
# that it always runs the source that is here. Where Python has no ensurepip (Debian without
# python3-venv), the pip that the machine has fills the venv.
$(VENV)/.installed: pyproject.toml
	@test -n '$(PYTHON)' || { echo 'error: Python 3.11 or newer is needed (make PYTHON=...)' >&2; exit 1; }
	@echo 'making $(VENV) with $(PYTHON)'
	@'$(PYTHON)' -m venv --clear $(VENV) >/dev/null 2>&1 || { \
		'$(PYTHON)' -m venv --clear --without-pip $(VENV) && \
		'$(PYTHON)' -m pip --python $(BIN)/python --quiet install pip; }
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@$(PIP) install --editable '.[dev]'
	@touch $@

venv: $(VENV)/.installed

dev: $(VENV)/.dev

# Everything that the demo makes, its store included, lies in ./demo: nothing in the user's home.
demo: $(VENV)/.installed
	@rm -rf $(DEMO)
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/mission.sh $(DEMO)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(if $(MEMORY),TMPDIR=$(MEMORY)) $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

# Airflow's own constraints pin hundreds of packages for its images; these pin what it needs here.
.venv-airflow-%/.installed: tests/in_airflow/constraints-%.txt pyproject.toml
	@test -n '$(PYTHON)' || { echo 'error: Python 3.11 or newer is needed (make PYTHON=...)' >&2; exit 1; }
	@echo 'making .venv-airflow-$* with $(PYTHON)'
	@'$(PYTHON)' -m venv --clear .venv-airflow-$*
	@.venv-airflow-$*/bin/python -m pip --disable-pip-version-check --quiet install \
		--constraint $< --editable '.[airflow]' pytest pytest-timeout
	@touch $@

airflow: .venv-airflow-3/.installed .venv-airflow-2/.installed
	@for version in 3 2; do \
		AMA_TESTS_NEED_AIRFLOW=1 $(if $(MEMORY),TMPDIR=$(MEMORY)) .venv-airflow-$$version/bin/python \
			-m pytest -c tests/in_airflow/pytest.ini tests/in_airflow $(PYTEST_ARGS) || exit 1; \
	done
# What is integrated is heavy, and pins versions of much else: so it stays out of .venv.
$(OTHERS)/.installed: pyproject.toml
	@test -n '$(PYTHON)' || { echo 'error: Python 3.11 or newer is needed (make PYTHON=...)' >&2; exit 1; }
	@echo 'making $(OTHERS) with $(PYTHON)'
	@'$(PYTHON)' -m venv --clear $(OTHERS) >/dev/null 2>&1 || { \
		'$(PYTHON)' -m venv --clear --without-pip $(OTHERS) && \
		'$(PYTHON)' -m pip --python $(OTHERS)/bin/python --quiet install pip; }
	@$(OTHERS)/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[integrations]'
	@$(OTHERS)/bin/python -m pip --disable-pip-version-check --quiet install 'ray>=2.40' \
		|| echo 'there is no Ray for this Python: its test is skipped'
	@touch $@

integrations: $(OTHERS)/.installed
	$(if $(MEMORY),TMPDIR=$(MEMORY)) $(OTHERS)/bin/python -m pytest -n $(WORKERS) --dist loadfile \
		$(PYTEST_ARGS) tests/integrations

# Azure's own emulator comes from npm, and so does what looks for barriers in the dashboard's pages. Debian's nginx-light and openssh-server are used if they are
# there; .ci/run installs them.
.servers/.installed:
	@mkdir -p .servers
	@npm install --silent --no-audit --no-fund --prefix .servers azurite@3.37.0 axe-core@4.14.1
	@touch $@

servers: .servers/.installed

bench: $(VENV)/.installed
	@$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

bench-peers: $(VENV)/.installed
	@$(BIN)/python benchmarks/peers.py $(BENCH_ARGS)

bench-tracking: $(VENV)/.installed
	@$(BIN)/python benchmarks/tracking.py $(BENCH_ARGS)

bench-dashboard: $(VENV)/.dev
	@$(BIN)/python benchmarks/dashboard.py $(BENCH_ARGS)

bench-remotes: $(VENV)/.dev
	@$(BIN)/python benchmarks/remotes.py $(BENCH_ARGS)

clean:
	rm -rf $(VENV) $(OTHERS) .venv-airflow-* $(DEMO) .servers benchmarks/.scratch build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
