# The commands of Lockstep. Each sets up what it needs first.
PY := .venv/bin/python
# Three processes of tests on two cores, since tests wait, each with servers of its own; a file's tests stay together and in order.
TOGETHER := -n 3 --dist loadfile --no-loadscope-reorder --durations=25

.PHONY: help run test verify setup check types others audit demo flaky

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile  # a tab: machines without man pages have no `column`

run:  ## set up everything on a fresh machine, then serve
	@bin/setup run
	@exec $(PY) manage.py serve

test: check  ## set up everything, then static checks and all tests
	@bin/browser
	$(PY) -m pytest -m "not long" $(TOGETHER)

verify: check  ## everything in `make test`, whatever takes longer, and Debian's servers
	@bin/browser
	@bin/servers
	$(PY) -m pytest -m "not long" $(TOGETHER) --hypothesis-profile=thorough
	$(PY) -m pytest -m long --durations=25
	$(PY) -m tests.debian

setup:  ## only make .venv, with the tools of the tests
	@bin/setup dev

check: setup  ## static checks
	@$(MAKE) --no-print-directory --jobs 2 types others

types:  # a core for half a minute, when nothing is cached
	$(PY) -m mypy project presence messaging perf

others:
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -c "from importlinter.cli import lint_imports_command as lint; lint()"
	$(PY) manage.py makemigrations --check --dry-run
	@-$(PY) -m pytest --collect-only -qq >/dev/null  # the bytecode, which each process of tests would make for itself

audit: setup  ## known vulnerabilities of everything in .venv; asks pypi.org, and fails where that does not answer
	$(PY) -m pip_audit --local --strict --progress-spinner off

demo:
	@echo "error: there is no demo yet; \`make run\` has the users alice and bob." >&2; exit 2

flaky: setup  ## the quick tests 20 times in random order, and the flake rate
	@$(PY) -m tests.flaky
