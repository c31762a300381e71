# What CI runs and what people run are the same targets. One cargo profile (dev) serves checks, tests, benchmarks and the
# binary, and every build names the whole workspace, so that RocksDB is compiled once.

SHELL := /bin/sh
CARGO ?= cargo
# Where cargo puts what it builds; CARGO_TARGET_DIR moves it.
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
# Which benchmark `make bench` runs, and where its results go.
SUITE ?= main
BENCH_OUT ?= $(TARGET)/bench/$(SUITE).jsonl

.DEFAULT_GOAL := help
# Simulated hours of `make sim`, and a single seed to look at.
HOURS ?= 1500
SEED ?=

.PHONY: help setup setup-tests build run test fuzz test-kafka soak lint fmt schemas sim sim-night bench clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check what a build needs; as root on Debian, install what is missing
	@sh .ci/setup

setup-tests: ## The same, and what tests need: Java and Maven, for a Kafka broker
	@sh .ci/setup tests

build: ## Build everything, tests and examples too
	$(CARGO) build --workspace --all-targets

run: setup ## Start the example run and keep serving (ONCE=1: stop when it has shown its result)
	$(CARGO) build --workspace
	@if [ "$(ONCE)" = 1 ] || ! test -t 1; then exec "$(TARGET)/debug/orrery" demo; else exec "$(TARGET)/debug/orrery" demo --keep; fi

test: setup-tests lint ## Lint, then every test, then the simulator
	$(CARGO) build --workspace
	$(CARGO) test --workspace
	"$(TARGET)/debug/orrery-sim" --hours $(HOURS) --out "$(TARGET)/sim"

fuzz: ## Try random expressions on the worst events from a new seed for some twenty minutes
	ORRERY_FUZZ_CASES=40000 ORRERY_FUZZ_SEED=$$(date +%s) $(CARGO) test --workspace --test expressions -- --nocapture

test-kafka: setup-tests ## The tests on real Kafka brokers
	$(CARGO) test --workspace --test on_kafka

soak: setup-tests ## The same, each fault ten times as often
	$(CARGO) build --workspace
	ORRERY_SOAK=10 $(CARGO) test --workspace --test on_kafka -- --nocapture

sim: ## Simulate clusters under faults for HOURS (1500), or show one SEED
	$(CARGO) build --workspace
	"$(TARGET)/debug/orrery-sim" --hours $(HOURS) --out "$(TARGET)/sim" $(if $(SEED),--seed $(SEED))

sim-night: ## Simulate from a new seed for about an hour
	$(CARGO) build --workspace
	"$(TARGET)/debug/orrery-sim" --hours 10000 --out "$(TARGET)/sim" --first $$(date +%s)

lint: ## Formatting, clippy, and cargo-deny where it is installed
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null 2>&1; then \
		$(CARGO) deny check licenses bans sources; \
	else \
		echo "cargo-deny is not installed: the tidy test checks licences and sources instead"; \
	fi

fmt: ## Format all sources
	$(CARGO) fmt --all

schemas: ## Make schemas/*.avsc follow the Rust types
	ORRERY_WRITE_SCHEMAS=1 $(CARGO) test --workspace files_and_types_agree

bench: ## Run the benchmarks of SUITE (main), or ONLY some; BENCH_OUT names the file of results
	$(CARGO) build --workspace
	@mkdir -p "$(dir $(BENCH_OUT))"
	BENCH_OUT="$(BENCH_OUT)" "$(TARGET)/debug/orrery-bench" $(SUITE)

clean: ## Remove what was built
	$(CARGO) clean
