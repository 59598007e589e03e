# make test    makes .venv, installs, checks and tests
# make thorough  runs the slowest tests, which make test leaves out
# make atari   makes .venv, installs, trains a small agent on one Atari game
# make drills  runs every drill of reliability in full; about four hours
# make gpu     measures search, scaling and Atari on a GPU; nine minutes
# make clean   removes .venv, caches and build products; never runs/

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Every extra that this Python allows, so that no test lacks its package. On
# Python 3.11 jax is older than 0.12 in any case; on later ones the extra
# "classic" would hold it back (gymnax refuses jax 0.12), and its tests skip.
EXTRAS = atari,games,viz,dev,gymnasium,mujoco,pettingzoo,physics,play,ray,tune,video,wandb$(shell $(PYTHON) -c \
  'import sys; print(",classic" * (sys.version_info[:2] == (3, 11)), end="")')

# Without it each of the hundred processes of the tests would compile all of
# jax's modules anew, which takes longer than most of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test thorough atari drills gpu clean .venv

.venv: $(STAMP)

$(STAMP): Makefile setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: muzero_jax needs Python 3.11 or newer, but $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1); try make PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	@# Of the modules that come along most are never imported.
	$(BIN)/python -m pip install --no-compile -e '.[$(EXTRAS)]'
	@touch $(STAMP)

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy src experiments
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not thorough"

thorough: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m thorough

atari: $(STAMP)
	$(BIN)/python -m experiments.atari \
	  --flagfile=experiments/flagfiles/atari/quickstart.flags \
	  --workdir=runs/atari_quickstart

gpu: $(STAMP)
	$(BIN)/python -m benchmarks.gpu --minutes=9

# One that fails does not keep the others from running.
DRILLS := signals disk storage code blocking soak processes cluster
drills: $(STAMP)
	failed=; for drill in $(DRILLS); do \
	  $(BIN)/python -m benchmarks.drills.$$drill || failed="$$failed $$drill"; \
	done; $(BIN)/python -m benchmarks.drills.report; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

clean:
	rm -rf .venv build dist src/*.egg-info .jax_cache .mypy_cache \
	  .pytest_cache .ruff_cache
	find src tests experiments benchmarks -name __pycache__ -type d \
	  -prune -exec rm -rf {} +
