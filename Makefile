# `make demo` and `make test` set up .venv on their first call, then do their job; a second call sets up nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test setup lint clean

demo: $(READY)
	$(BIN)/python tools/make_digits.py data/digits
	$(BIN)/python tools/demo.py --work-dir work_dirs/demo

test: lint
	$(BIN)/python -m pytest $(if $(FAST),-m "not slow")

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup: $(READY)

$(READY): setup.py tools/setup_venv.sh $(wildcard requirements/*.txt)
	bash tools/setup_venv.sh $(PYTHON) $(VENV)
	touch $@

clean:
	rm -rf $(VENV) work_dirs
