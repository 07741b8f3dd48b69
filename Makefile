# Needs make and a Python of at least 3.11, nothing else.

.DELETE_ON_ERROR:
.PHONY: help demo test test-all bench bench-gpu docs clean
.PRECIOUS: .venv-%/installed .venv/installed-%

help:
	@echo 'make demo    compare the learning rules on a small task; the results go to demo/'
	@echo 'make test    lint, types and tests on the newest Python here, about 20 minutes'
	@echo '             (make test-3.12: on that one)'
	@echo 'make test-all  the same, then the tests on the oldest Python, with other cases'
	@echo 'make bench   measure speed against backpropagation, try 1,000 random graphs,'
	@echo '             all cases of all grids, and whole claims and command lines'
	@echo 'make bench-gpu  the speed of rules on larger models, on an NVIDIA GPU'
	@echo 'make docs    build the documentation site into build/site; a broken link fails'
	@echo 'make clean   remove the virtual environments and everything else made here'

demo: .venv/installed-lab
	.venv/bin/apical compare --out demo --force

bench: .venv/installed-bench
	.venv/bin/python -m benchmarks
	APICAL_EXAMPLES=1000 .venv/bin/python -m pytest -n 2 -m "not slow" tests/circuit/test_random_graphs.py
	.venv/bin/python -m pytest -n 2 -m "slow or exhaustive" tests

bench-gpu: .venv/installed-bench
	.venv/bin/python -m pip install -qq 'jax[cuda13]'
	.venv/bin/python -m benchmarks --lines accelerator --device gpu --out build/bench-gpu.jsonl

docs: .venv/installed-docs
	.venv/bin/zensical build --strict --clean
	@echo 'build/site/index.html; with search: python -m http.server -d build/site'

# On the newest Python here: lint, types, the tests and the examples in docstrings.
test:
	@$(MAKE) --no-print-directory "test-$$(sh tools/pythons.sh newest)"

# The same, then on the oldest what may depend on versions, with other cases of grids.
test-all: test
	@$(MAKE) --no-print-directory "sweep-$$(sh tools/pythons.sh oldest)"

test-%: .venv-%/installed
	.venv-$*/bin/ruff check .
	.venv-$*/bin/ruff format --check .
	.venv-$*/bin/pyright --pythonpath .venv-$*/bin/python
	.venv-$*/bin/python -m pytest -n 2 --dist loadfile

sweep-%: .venv-%/installed
	.venv-$*/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not exhaustive and not once"

# A virtual environment holds a stamp for what was installed into it, and is installed
# into again when pyproject.toml is newer than the stamp. "Eager", for the newest JAX.
# $(call install,FOLDER,PYTHON,EXTRA)
define install
	@echo 'Installing apical[$(3)] into $(1): a minute or two.'
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || "$$(sh tools/pythons.sh $(2))" -m venv --clear $(1)
	@$(1)/bin/python -m pip install -qq --upgrade --upgrade-strategy eager --editable '.[$(3)]'
	@touch $@
endef

.venv/installed-%: pyproject.toml
	$(call install,.venv,default,$*)

.venv-%/installed: pyproject.toml
	$(call install,.venv-$*,$*,test)

clean:
	rm -rf .venv .venv-3.* .cache .hypothesis .pytest_cache .ruff_cache build demo dist
	find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
