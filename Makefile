PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench torture css screenshots

.venv: pyproject.toml setup.cfg
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch .venv

demo: .venv
	$(BIN)/python -m examples.host_app

test: .venv
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv
	$(BIN)/python -m tests.benchmarks

torture: .venv
	$(BIN)/python -m tests.torture
	$(BIN)/python -m tests.torture --postgresql --most 40
	$(BIN)/python -m tests.torture --gunicorn 100
	$(BIN)/python -m tests.hostile

# Only for those who change the templates or the style: the compiled CSS is committed.
css:
	npm --prefix hexhub_backup/static/src ci
	npm --prefix hexhub_backup/static/src run build

screenshots: .venv
	$(BIN)/python -m tests.screenshots
