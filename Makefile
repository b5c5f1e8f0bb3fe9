# Every target is a script under scripts/; this file only names them.
# PG_CONFIG chooses the PostgreSQL to build for (15 to 18), for every target:
#   make check PG_CONFIG=/usr/lib/postgresql/16/bin/pg_config
SHELL := /bin/bash
export PG_CONFIG

.DEFAULT_GOAL := help
.PHONY: help demo check check-long up down bench build install setup clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## install what is missing, build, start the playground, run the tour
	@scripts/setup.sh demo
	@scripts/playground.sh up >/dev/null
	@scripts/demo.sh

check: ## everything that must hold before a change goes in
	@scripts/check.sh

check-long: ## check, then fuzzing, mutation testing, a million rows, crash loops
	@scripts/check.sh
	@tests/run.sh long
	@scripts/check-long-core.sh

up: ## start the playground; use it as: eval "$(make -s up)"
	@scripts/setup.sh demo
	@scripts/playground.sh up

down: ## stop the playground and throw its data away
	@scripts/playground.sh down

bench: ## the benchmark table
	@scripts/setup.sh check
	@scripts/build.sh
	@scripts/install.sh
	@bench/run.sh

build: ## compile the extension and the command line, and put the install script together
	@scripts/build.sh

install: ## copy them into the PostgreSQL that PG_CONFIG names
	@scripts/build.sh
	@scripts/install.sh

setup: ## install what building and checking need
	@scripts/setup.sh check

clean: ## stop the playground and remove everything that was built
	@scripts/playground.sh down
	@cargo clean
