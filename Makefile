# What one types most often. The targets are short; the work is in dev/stack, cargo and xtask.

SHELL := bash
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Accounts that the engines hold while they are killed.
ACCOUNTS ?= 5000000
# Of `make bench`. A quick look: make bench PAYMENTS=1000000 ROUNDS=1
PAYMENTS ?= 5000000
ROUNDS ?= 3

.PHONY: help demo stack check test guard chaos bench bench-curves bench-default bench-restart clean-data

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## Runs the whole pipeline on the embedded broker; needs Rust, a C and a C++ compiler, nothing else
	cargo build --release --package tidemill
	$(TARGET)/release/tidemill demo

stack: ## Starts Kafka, schema registry, Postgres and Redis on loopback
	dev/stack up

check: ## Formatting, lints, and the rules of STYLE.md
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo xtask tidy

test: stack check ## Everything: check, then all tests, with the real parts
	eval "$$(dev/stack env)" && cargo test --workspace
	@if command -v valgrind >/dev/null; then $(MAKE) --no-print-directory guard; else \
	  echo "make test: the instructions of the steps were not counted, because valgrind is missing;" \
	    "on Debian: apt-get install valgrind"; fi

guard: ## Counts the instructions of every step; fails at 10 % more than in docs/benchmarks/instructions.md
	cargo run --release --package tidemill-instructions -- check

CHAOS_SECONDS := $(or $(TIDEMILL_CHAOS_SECONDS),3600)

chaos: ## An hour of kills, zombies and a broken network on real parts; TIDEMILL_CHAOS_SECONDS for another time
	mkdir -p data
	set -o pipefail; TIDEMILL_CHAOS_SECONDS=$(CHAOS_SECONDS) cargo test --package tidemill --test chaos -- --nocapture 2>&1 | tee data/chaos.log

bench: ## The chain beside Kafka Streams and a plain copy, verified; writes docs/benchmarks/chain.md; PAYMENTS, ROUNDS
	TIDEMILL_STACK_JIT=c2 dev/stack up
	cargo build --release --package tidemill-bench
	eval "$$(dev/stack env)" && $(TARGET)/release/bench chain compare --folder data/bench --payments $(PAYMENTS) \
	  --rounds $(ROUNDS) --broker-pid "$$(cat "$${TIDEMILL_STACK_DIR:-data/stack}/kafka/pid")" --write docs/benchmarks

bench-curves: ## The chain with ten thousand to five million accounts and one to 64 tasks; writes docs/benchmarks/curves.md
	TIDEMILL_STACK_JIT=c2 dev/stack up
	cargo build --release --package tidemill-bench
	eval "$$(dev/stack env)" && $(TARGET)/release/bench chain curves --folder data/bench \
	  --broker-pid "$$(cat "$${TIDEMILL_STACK_DIR:-data/stack}/kafka/pid")" --write docs/benchmarks

# Its topics have the names of the topology, so it has a stack of its own, which must be new.
bench-default: export TIDEMILL_STACK_DIR := $(CURDIR)/data/bench-default-stack
bench-default: export TIDEMILL_STACK_JIT := c2
bench-default: ## The default topology with all hops and sinks; needs `perf`; writes docs/benchmarks/default.md
	dev/stack wipe
	dev/stack up
	rm -rf data/bench-default
	cargo build --release --package tidemill-bench --package tidemill
	eval "$$(dev/stack env)" && $(TARGET)/release/bench pipeline --folder data/bench-default \
	  --broker-pid "$$(cat "$$TIDEMILL_STACK_DIR/kafka/pid")" --profile --write docs/benchmarks
	dev/stack down

bench-restart: ## Restart and restore beside Kafka Streams; writes docs/benchmarks/restart.md
	TIDEMILL_STACK_JIT=c2 dev/stack up
	cargo build --release --package tidemill-bench
	eval "$$(dev/stack env)" && $(TARGET)/release/bench restart --run "restart-$$(date +%s)" --folder data/bench \
	  --accounts $(ACCOUNTS) --rounds 3 --write docs/benchmarks/restart.md

clean-data: ## Stops the stack and deletes all local data; downloads and builds stay
	dev/stack wipe
	rm -rf data
