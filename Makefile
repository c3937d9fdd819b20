# Every chore is one word. The first use of any of them sets everything up.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: app test test-quick lint format component bench clean

app: $(VENV)/.installed          ## open the app on a demo dataset
	SCFVIZ_DEMO=1 $(BIN)/scfviz app

test: $(VENV)/.dev lint          ## the whole suite, a test file per core at a time
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test-quick: $(VENV)/.dev lint    ## without browsers and long computations
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

component:                       ## rebuild the committed bundle of the map (needs Node)
	cd scfviz/ui/components/cell_map && npm ci --ignore-scripts && npm run build

bench: $(VENV)/.dev              ## measure; results go to benchmarks/results; one alone: make bench NAME=map
	for script in benchmarks/$(or $(NAME),[a-z]*).py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python %d.%d was found; 3.11 or newer is needed. Try: make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	$(BIN)/python -c "from scfviz.commands.app import prepare; prepare()"  # else the first map would wait for it
	touch $@

$(VENV)/.dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache
