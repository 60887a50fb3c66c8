# `make` shows what there is to do.

.DEFAULT_GOAL := help
.PHONY: help demo test bench fuzz torture lint build deb deb-kerberos rpm test-features audit sbom chart packages packages-build packages-slapd packages-rpm packages-kerberos

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages-slapd ## watch invitations follow a throw-away slapd (installs slapd and ldap-utils if they are missing)
	@echo "Building the service and the demonstration: about three minutes the first time, on two cores."
	@cargo build --locked --bin ldap-usher --example demo
	@cargo run --locked --quiet --example demo

test: packages ## run all tests against real servers (installs what they need)
	@if cargo nextest --version >/dev/null 2>&1; \
	then set -x; cargo nextest run --locked; \
	else set -x; cargo test --locked --lib --bins --tests; fi
	cargo test --locked --doc

test-features: packages packages-kerberos ## lint and test a build with Kerberos and OpenTelemetry
	cargo clippy --locked --all-targets --features kerberos,otel -- -D warnings
	@if cargo nextest --version >/dev/null 2>&1; \
	then set -x; cargo nextest run --locked --features kerberos,otel kerberos traces opentelemetry; \
	else set -x; for what in kerberos traces opentelemetry; do \
	cargo test --locked --lib --tests --features kerberos,otel $$what || exit 1; done; fi

bench: packages ## measure speed against references in the same run (PEOPLE=1000000 for the large listing; ONLY=push,onboarding,listing,postgres,servers,groups,trace)
	cargo build --locked --release --bin ldap-usher --example bench
	target/release/examples/bench

fuzz: ## throw bytes at every decoder for a minute each (needs cargo-fuzz; SECONDS=600 for longer)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing; run: cargo install cargo-fuzz"; exit 1; }
	@for target in $$(cargo fuzz list --fuzz-dir tests/fuzz); do set -x; \
	RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(or $(SECONDS),60) -rss_limit_mb=512 || exit 1; done

torture: packages ## kill one, two and three instances, slapd and Vaultwarden at random, then see who is invited (SECONDS=60, SEED=.., INSTANCES=1,2,3)
	cargo build --locked --bin ldap-usher --example torture
	@cargo run --locked --quiet --example torture

lint: ## formatting, clippy and documentation, warnings denied
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

build: packages-build ## build the release binary, target/release/ldap-usher
	cargo build --locked --release

deb: build ## build the Debian package, target/packages/*.deb
	config/packaging/deb target/release/ldap-usher target/packages

deb-kerberos: packages-kerberos ## build the Debian package with Kerberos, which needs its libraries
	cargo build --locked --release --features kerberos
	config/packaging/deb target/release/ldap-usher target/packages

rpm: build packages-rpm ## build the RPM package, target/packages/*.rpm
	config/packaging/rpm target/release/ldap-usher target/packages

audit: ## licences, duplicates and advisories of all dependencies (needs cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing; run: cargo install --locked cargo-deny"; exit 1; }
	cargo deny --locked --all-features --config .config/deny.toml check

sbom: ## the list of all dependencies in the form of CycloneDX, target/packages/ldap-usher.cdx.json (needs cargo-cyclonedx)
	@cargo cyclonedx --version >/dev/null 2>&1 || { echo "cargo-cyclonedx is missing; run: cargo install --locked cargo-cyclonedx"; exit 1; }
	mkdir -p target/packages
	cargo cyclonedx --format json --override-filename ldap-usher.cdx
	mv ldap-usher.cdx.json target/packages/

chart: ## lint the Helm chart and render each of its variants (needs helm)
	@helm version --short >/dev/null 2>&1 || { echo "helm is missing; see https://helm.sh/docs/intro/install"; exit 1; }
	helm lint --strict config/helm
	for more in postgresql=true serviceMonitor.enabled=true,networkPolicy.enabled=true secrets.admin_token=x; do \
	helm template usher config/helm --set $$more >/dev/null || exit 1; done

packages:
	@.ci/packages servers

packages-build packages-slapd packages-rpm packages-kerberos: packages-%:
	@.ci/packages $*
