SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: env book test html lab notebooks clean help

BIN := .venv/bin
INSTALLED := .venv/.installed
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
TIMES := _build/notebook-times.json

# One thread a process: tests and notebooks run two at a time, and sums in another order would round differently.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

help:  ## list these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

env: $(INSTALLED)  ## create .venv and install everything; again only if pyproject.toml or constraints.txt changed

# Python 3.11 is tried first because constraints.txt was resolved with it.
$(INSTALLED): pyproject.toml constraints.txt
	@python=$$(for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$$name"; break; fi; \
	done); \
	if [ -z "$$python" ]; then \
	    echo "usjepa needs Python 3.11 or newer; found $$(python3 --version 2>/dev/null || echo no Python)." >&2; \
	    echo "Install one (Debian 12 or newer: apt install python3 python3-venv) and call make again." >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$python has no venv module. Install it (Debian: apt install python3-venv) and call make again." >&2; exit 1; \
	fi; \
	echo "Installing into .venv with $$("$$python" --version); about 6 GB, some minutes"; \
	"$$python" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[book,test,cluster]'
	@touch $@

book: $(INSTALLED)  ## run a copy of every notebook, build the book from the copies, print the page to open
	@rm -rf _build/run
	@echo "Running $(words $(NOTEBOOKS)) notebook(s), copies in _build/run"
	@$(BIN)/usjepa notebooks run $(NOTEBOOKS) --out _build/run --times $(TIMES)
	@$(MAKE) --no-print-directory pages FROM=_build/run

html: $(INSTALLED)  ## build the book from the notebooks' stored outputs, in less than a minute
	@$(MAKE) --no-print-directory pages FROM=notebooks

# The book is built from a copy of its sources, because its notebooks come from one of two folders.
.PHONY: pages
pages:
	@rm -rf _build/source _build/html _build/.doctrees && mkdir -p _build/source/notebooks
	@cp -r _config.yml _toc.yml book _build/source/
	@cp $(FROM)/*.ipynb _build/source/notebooks/
	@echo "Building the pages from $(FROM)"
	@$(BIN)/jupyter-book build _build/source --path-output . -W --keep-going -q
	@echo "Open _build/html/index.html"

test: $(INSTALLED)  ## run all checks: style, types, tests, notebooks against their stored outputs, the built book
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict usjepa
	@$(MAKE) --no-print-directory html
	$(BIN)/pytest tests -n 2
	$(BIN)/pytest notebooks --nbval --nbval-current-env --nbval-cell-timeout 600 -n 2 --dist loadfile

lab: $(INSTALLED)  ## open the first notebook in JupyterLab; all are trusted, so that stored figures work at once
	@$(BIN)/jupyter trust $(NOTEBOOKS) >/dev/null
	$(BIN)/jupyter lab $(firstword $(NOTEBOOKS))

notebooks: $(INSTALLED)  ## run all notebooks in place and store them in their normal form
	@$(BIN)/usjepa notebooks run $(NOTEBOOKS) --times $(TIMES)
	@$(BIN)/usjepa notebooks picture notebooks/00-quickstart.ipynb overlay book/_static/overlay.png

clean:  ## remove what was built; .venv stays
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache
