# make demo   create .venv, install, run the demonstration
# make test   create .venv, install with the development tools, run every check
# make clean  remove what these two made
#
# Needs Python 3.11 or newer, another than python3 as in: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip

.PHONY: demo test clean

demo: $(VENV)/installed
	$(BIN)/mri3d demo

# A worker that loads the networks takes 1 to 2 GB, so there are four at most. A file stays in one worker, and with it the
# costly fixtures its tests share.
test: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# The stamps let a second call begin at once. torch comes first and alone, so that no other build of it is drawn in.
$(VENV)/installed: setup.cfg constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'mri3d needs Python 3.11 or newer: make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt $$(grep ^torch== constraints.txt)
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install -c constraints.txt -e .[dev]
	touch $@

clean:
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist mri3d.egg-info data/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
