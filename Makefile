# The first `make demo` or `make test` creates .venv with pinned versions; later runs reuse it.
PYTHON ?= python3
VENV ?= .venv
UPSTREAM := .venv-upstream
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := cvt_backbone configs tools tests docs setup.py pyproject.toml README.md CHANGELOG.md CONTRIBUTING.md # a user's own files in the checkout are left out
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
SEED := $(shell date +%s) # of the fuzz tests' examples
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) # a fifth of the time a test waits for processes that start
PYTEST := -m pytest -n $(WORKERS) --hypothesis-seed=$(SEED) --dist loadfile --max-worker-restart 0 -m "not reproduce$(if $(FAST), and not slow)"

.PHONY: demo test fuzz reproduce test-upstream setup lint docs docs-serve clean

demo: $(READY)
	$(BIN)/python tools/make_digits.py data/digits
	$(BIN)/python tools/demo.py

test: lint docs
	$(BIN)/python $(PYTEST)

# The fuzz tests with new examples for so many minutes.
MINUTES := 30
fuzz: $(READY)
	$(BIN)/python tools/dev/fuzz.py $(MINUTES)

# Whole trainings, whose figures the documentation names: about half an hour on two cores.
reproduce: $(READY)
	$(BIN)/python -m pytest -m reproduce

# The same tests with the original OpenMMLab (mmcv 2.1, PyTorch 2.1), in a separate virtual environment.
test-upstream: $(UPSTREAM)/.ready
	$(UPSTREAM)/bin/python $(PYTEST)

lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

# The site: built into site/, or shown at localhost:8000 and built anew whenever a page changes.
docs: $(READY)
	$(MKDOCS) build --strict

docs-serve: $(READY)
	$(MKDOCS) serve

setup: $(READY)

LINE := onedl
$(UPSTREAM)/.ready: LINE := upstream
$(READY) $(UPSTREAM)/.ready: setup.py tools/setup_venv.sh $(wildcard requirements/*.txt)
	bash tools/setup_venv.sh $(PYTHON) $(@D) $(LINE)
	touch $@

clean:
	rm -rf $(VENV) $(UPSTREAM) site
