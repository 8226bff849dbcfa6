# What one types most often. The targets are short; the work is in dev/stack, cargo and xtask.

TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help demo stack check test sim clean-data

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

sim: ## The simulation for the night: SEEDS runs on each broker
	TIDEMILL_SIM_SEEDS=$(or $(SEEDS),100000) cargo test --package tidemill-tests --test sim nothing -- --nocapture

clean-data: ## Stops the stack and deletes all local data; downloads and builds stay
	dev/stack wipe
	rm -rf data
