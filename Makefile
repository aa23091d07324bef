# What a developer calls, each beside its name below; all but clean build .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE # as images of containers set it: each of many processes would compile everything anew

.PHONY: demo test test-privacy thorough slow chaos check lint types bench bench-gpu clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch .venv/ready

demo: .venv/ready ## the demo sweep on embedded data, its front and its report
	$(BIN)/privimage sweep demo
	$(BIN)/privimage front runs/demo
	$(BIN)/privimage report runs/demo
	test -d runs/demo/best-epsilon-10 || \
		$(BIN)/privimage best runs/demo --epsilon 10 --metric 'accuracy[cnn]' --to runs/demo/best-epsilon-10

test: .venv/ready ## quick tests, doctests included, side by side
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-privacy: .venv/ready ## every privacy rule, and every planted fault with whether its check saw it
	$(BIN)/python -m pytest -v --no-header -m 'not slow' tests/privacy tests/conformance tests/privimage/test_privacy_rules.py \
		tests/sweeps/modes/test_selection.py tests/analysis/modes/test_one_number.py

thorough: .venv/ready ## more of what test looks at: CI runs both
	$(BIN)/python -m pytest -m 'thorough and not slow' -n auto --maxprocesses 8 --dist loadfile

slow: .venv/ready ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready
	$(BIN)/mypy

check: lint types test ## everything that must be green

chaos: .venv/ready ## sixty kills of everything, and whether anything is lost, doubled or paid twice: 40 minutes on two cores
	$(BIN)/python tests/benchmarks/chaos.py

bench: .venv/ready ## the cost of a private step as ratios inside one run: half an hour on two cores
	$(BIN)/python tests/benchmarks/dpsgd.py --end-to-end --sampler

bench-gpu: .venv/ready ## the same on a GPU, with pre-training and sampling: under six minutes
	$(BIN)/python tests/benchmarks/gpu.py

clean:
	rm -rf .venv build *.egg-info
