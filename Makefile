# One command each; every one installs what it needs into .venv first, and does nothing twice.
#
#   make demo [TORCH_INDEX=url]   a tiny student learns from a tiny teacher; prints accuracy before and after
#   make test                     lint, floors, types, unit tests, notebooks
#   make lab                      JupyterLab on the notebooks
#   make check                    lint, floors, types: seconds
#   make docs                     the site: pages, notebooks as stored, reference from docstrings, into site/
#   make study                    what accuracy costs: scans, forks, whole answers, logits, then the report (hours)
#   make ablations                what each part of the method brings, then the report (hours)
#   make real                     a pre-trained model learns from itself with the solutions in sight (an hour)
#   make study-real               the same on three seeds, beside two controls, then the report (hours)
#   make bench [ONLY=name]        the long figures: every script in benchmarks/, or one
#
# PYTHON=python3.12 chooses the Python (3.11 to 3.14) that makes .venv. JOBS=4 tests in four processes, not two.

PYTHON ?= python3
TORCH_INDEX ?=
ONLY ?= *
JOBS ?= 2
# A file's tests share what they start, so they stay in one process, and files begin in the order of their names.
SHARED = --numprocesses $(JOBS) --dist loadscope --no-loadscope-reorder
BIN := .venv/bin

.PHONY: help demo test lab check docs study ablations real study-real bench constraints install install-test \
	install-docs

help:
	@sed -n 's/^#   //p' Makefile

demo: install
	@echo "The main job: notebooks/train.ipynb on recipes/embedded.toml. Ctrl-C leaves a run that can be resumed."
	@$(BIN)/omniopd demo

lab: install
	@mkdir -p $(BIN)/../share/jupyter/lab/settings
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' \
		> $(BIN)/../share/jupyter/lab/settings/overrides.json
	@$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. \
		--LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb --LabApp.news_url=None

check: install-test
	@failed=0; \
	echo "Lint (ruff)"; $(BIN)/ruff check --quiet --output-format concise . || failed=1; \
	echo "Floors (import-linter)"; $(BIN)/lint-imports --no-logo || failed=1; \
	echo "Types (mypy)"; $(BIN)/mypy || failed=1; \
	exit $$failed

# One torch thread: two of them fight over two cores. Nothing under test may reach a network.
# (What tests/real needs is fetched by a process of its own.)
test: export OMP_NUM_THREADS = 1
test: export TOKENIZERS_PARALLELISM = false
test: export HF_HUB_OFFLINE = 1
test: export HF_HUB_DISABLE_TELEMETRY = 1
test: export LITELLM_LOCAL_MODEL_COST_MAP = True
test: check
	@echo "Unit tests (pytest), in $(JOBS) processes"
	@$(BIN)/python -m pytest $(SHARED) --durations=15 tests
	@echo "Notebooks, against their recorded outputs (nbval)"
	@$(BIN)/python -m pytest $(SHARED) --durations=5 --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks

# Warnings are errors: a link or an anchor that leads nowhere, a docstring that names no argument. Loads nothing.
docs: export NO_MKDOCS_2_WARNING = 1
docs: install-docs
	@$(BIN)/mkdocs build --quiet --strict
	@echo "Built site/index.html. With search: python3 -m http.server --directory site"

# What pass@16 of a study is measured on, two runs at a time.
PASSES := evaluation.problems=200 evaluation.samples=16 evaluation.temperatures=[1.0]

# Stopped in between, either goes on where it was. A run that failed is named, and the report says what it lacks.
study: install
	@$(BIN)/omniopd sweep frontier
	-@ls -d runs/frontier/*/seed=*/ | xargs -P 2 -I RUN $(BIN)/omniopd evaluate RUN --quiet $(PASSES) > /dev/null
	@$(BIN)/omniopd report runs/frontier --reference scan --beside white_box sft --title "What accuracy costs" \
		--out runs/frontier/report.html --markdown runs/frontier/report.md --costs runs/frontier/costs.csv \
		--figures runs/frontier

ablations: install
	@$(BIN)/omniopd sweep ablations
	@$(BIN)/omniopd report runs/ablations --reference labels --beside labels paper --title "What each part brings" \
		--out runs/ablations/report.html --markdown runs/ablations/report.md

REAL := HuggingFaceTB/SmolLM2-135M-Instruct

real: install
	@$(BIN)/omniopd fetch $(REAL)
	@$(BIN)/omniopd train smollm2

study-real: install
	@$(BIN)/omniopd fetch $(REAL)
	@$(BIN)/omniopd sweep smollm2
	@$(BIN)/omniopd report runs/smollm2 --reference "solution in sight" --title "A real model, and its own solutions" \
		--out runs/smollm2/report.html --markdown runs/smollm2/report.md

bench: install
	@for script in benchmarks/$(ONLY).py; do echo "== $$script" && $(BIN)/python "$$script" || exit 1; done

# Resolve anew for every Python from 3.11 on, with hashes, keeping the pins that still fit.
constraints: install-test
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/python .ci/resolve.py
	@git --no-pager diff --stat constraints.txt

install: need = 
install-test: need = --extra test
install-docs: need = --extra docs
install install-test install-docs:
	@command -v $(PYTHON) > /dev/null || { echo "omniopd: there is no '$(PYTHON)' here: install Python 3.11 to 3.14, or name it (make demo PYTHON=/path/to/python3.12)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[0] < 3)' || { echo "omniopd: '$(PYTHON)' is Python 2: name a Python from 3.11 to 3.14 (make demo PYTHON=/path/to/python3.12)." >&2; exit 1; }
	@$(PYTHON) .ci/install.py $(need) $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))
