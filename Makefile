# `make` shows what there is to do.

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint build packages

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages ## watch invitations follow a throw-away slapd (installs slapd if it is missing)
	cargo build --locked --bin ldap-usher --example demo
	@cargo run --locked --quiet --example demo

test: packages ## run all tests against real servers (installs what they need)
	@if cargo nextest --version >/dev/null 2>&1; \
	then set -x; cargo nextest run --locked; \
	else set -x; cargo test --locked --lib --bins --tests; fi
	cargo test --locked --doc

bench: packages ## measure speed against references in the same run (PEOPLE=1000000 for the large listing)
	cargo build --locked --release --bin ldap-usher --example bench
	target/release/examples/bench

lint: ## formatting, clippy and documentation, warnings denied
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

build: ## build the release binary, target/release/ldap-usher
	cargo build --locked --release

packages:
	@.ci/packages
