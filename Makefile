# `make demo` and `make test` set up .venv on their first call, then do their job; a second call sets up nothing.
PYTHON ?= python3
VENV ?= .venv
UPSTREAM := .venv-upstream
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := cvt_backbone configs tools tests docs setup.py pyproject.toml README.md CHANGELOG.md CONTRIBUTING.md # not what a user has written beside it
PYTEST := -m pytest -n auto --dist loadgroup $(if $(FAST),-m "not slow")

.PHONY: demo test test-upstream setup lint clean

demo: $(READY)
	$(BIN)/python tools/make_digits.py data/digits
	$(BIN)/python tools/demo.py --work-dir work_dirs/demo

test: lint
	$(BIN)/python $(PYTEST)

# The same tests beside the original OpenMMLab (mmcv 2.1, PyTorch 2.1), in a virtual environment of its own.
test-upstream: $(UPSTREAM)/.ready
	$(UPSTREAM)/bin/python $(PYTEST)

lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

setup: $(READY)

LINE := onedl
$(UPSTREAM)/.ready: LINE := upstream
$(READY) $(UPSTREAM)/.ready: setup.py tools/setup_venv.sh $(wildcard requirements/*.txt)
	bash tools/setup_venv.sh $(PYTHON) $(@D) $(LINE)
	touch $@

clean:
	rm -rf $(VENV) $(UPSTREAM) work_dirs
