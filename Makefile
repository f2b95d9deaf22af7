PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo cluster docs test test-matrix test-lowest lint bench torture css messages screenshots

# A file in it, as a venv that could not be made leaves its directory behind.
$(INSTALLED): pyproject.toml setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 …")'
	@PYTHON=$(PYTHON) tools/system-packages venv
	@echo "Installing into .venv, which takes a minute the first time."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --upgrade pip
	@$(BIN)/python -m pip install -qq --editable '.[dev]'
	@touch $(INSTALLED)

# PORT=5050 names a port; without it, it is the first free one from 5000 on.
demo: $(INSTALLED)
	@HOST_APP_PORT=$(or $(PORT),$(HOST_APP_PORT)) $(BIN)/python -m examples.host_app

# The example on several machines, as it were: servers, web processes and workers.
cluster: $(INSTALLED)
	@tools/system-packages tests
	@$(BIN)/python -m tests.support.cluster

# The manual. A warning is an error: a link that leads nowhere, say.
docs: $(INSTALLED)
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs
	@echo "The manual is at build/docs/index.html."

# Everything on SQLite but for what is marked `matrix`, and what is marked `sample` on each database.
test: $(INSTALLED)
	@tools/system-packages tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Everything on every database: the tests, and then what they leave out or try a part of.
test-matrix: test
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --rest

# Some files of every part with the lowest version of everything that setup.cfg allows.
test-lowest: $(INSTALLED)
	@tools/system-packages tests
	$(BIN)/python tools/sample.py --lowest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python -m tests.benchmarks

torture: $(INSTALLED)
	@tools/system-packages tests
	$(BIN)/python -m tests.torture
	$(BIN)/python -m tests.torture --database postgresql --most 40
	$(BIN)/python -m tests.torture --database mariadb --most 40
	$(BIN)/python -m tests.torture --database postgresql --bucket --most 40
	$(BIN)/python -m tests.torture --database postgresql --bucket --without-talk
	$(BIN)/python -m tests.torture --gunicorn 100
	$(BIN)/python -m tests.torture --cluster 20
	$(BIN)/python -m tests.hostile
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --torture tests/operations/test_bucket_faults.py tests/depot/test_faults.py

# Only for those who change the templates or the style: the compiled CSS is committed.
css:
	npm --prefix hexhub_backup/static/src ci
	npm --prefix hexhub_backup/static/src run build

# After a change of texts: what is new has to be translated in the .po files.
messages: $(INSTALLED)
	$(BIN)/python tools/messages.py

screenshots: $(INSTALLED)
	@tools/system-packages tests
	$(BIN)/python -m tests.screenshots
