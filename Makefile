# Two commands do all the set-up: `make run` and `make test`. Both install what they need (scripts/setup.sh).

SHELL := /bin/bash
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR ?= $(CACHE)/croft/target
export CROFT_NIX_VERSIONS ?= /opt/croft-nix
# A Rust that setup.sh had to install, behind the machine's own.
export PATH := $(PATH):/opt/croft-rust/bin
CROFT = $(CARGO_TARGET_DIR)/release/croft

.PHONY: help run build guest test lint bench fuzz clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

run: build ## check Django's own test suite over python x database, for real
	nix/pins/fetch all examples/django/pins.json
	$(CROFT) check ./examples/django
	@echo; echo "The same again takes nothing:  $(CROFT) check ./examples/django"
	@echo "One cell's tests:              $(CROFT) show python-3_13-postgresql-17"

build: ## build croft
	@bash scripts/setup.sh tools rust nix
	cargo build --release --locked

guest: ## the builder guest for virtual machines, in $(CACHE)/croft/guest
	@bash scripts/setup.sh tools nix guest
	nix/pins/fetch base nix/guest/pins.json
	nix/guest/build $(CACHE)/croft/guest

test: ## the whole test suite
	@bash scripts/setup.sh tools rust nix machines versions
	nix/pins/fetch all examples/django/pins.json
	cargo test --locked --no-fail-fast

lint: ## format, clippy, docs
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --lib

bench: ## croft against Nix itself; writes target/bench/summary.json
	@bash scripts/setup.sh tools rust nix
	cargo bench --locked --bench peer

clean: ## remove what was built
	cargo clean
