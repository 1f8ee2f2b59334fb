# Two commands for people: `make demo` and `make test`. Each sets up what it needs.

# Public docs must be whole; a broken link is an error.
export RUSTDOCFLAGS := -D warnings

# A text that differs from its snapshot fails, and no file is written.
export INSTA_UPDATE := no

# Half of the tests wait for servers and deadlines more than they compute.
TEST_THREADS ?= $(shell echo $$(( $$(nproc) * 3 / 2 )))

# Of each fuzzer; twenty minutes by default.
FUZZ_SECONDS ?= 1200
FUZZERS ?= events json gtid_text gtid_binary

# Of all scenes together. With the seed of another run, statements, moments and faults are the same, and only time is not.
TORTURE_KILLS ?= 1000
TORTURE_SEED := $(or $(TORTURE_SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' '))

.PHONY: help test snapshots demo lint doc servers bench compare compare-table torture fuzz fuzz-seeds clean

help:
	@echo 'make demo    MySQL, a local Firehose, the agent, the answers of DuckDB and MySQL; an ECS cluster'
	@echo 'make test    format, lints, docs and all tests, against real servers'
	@echo 'make bench   the decoder beside mysql_common + csv, on three captured binlogs'
	@echo 'make torture kills the agent $(TORTURE_KILLS) times and checks what it has delivered (TORTURE_KILLS, TORTURE_SEED)'
	@echo 'make fuzz    hostile bytes for the decoders, $(FUZZ_SECONDS) s each (FUZZ_SECONDS, FUZZERS)'
	@echo 'make compare hydrant beside its rivals, and what watching costs MySQL; writes the figures of README and docs'

# Compiles first; fetches MySQL and DuckDB once.
demo:
	cargo build --bin hydrant --example demo
	@test -n "$$HYDRANT_MYSQL_URL" || servers/fetch mysql
	@cargo run --quiet --example demo

# Lints first: they are the quickest to fail. A server, browser or Python that cannot be had fails the tests that need
# it, and only those.
test: lint doc
	@$(MAKE) --no-print-directory servers || \
		echo 'make: the tests that need what could not be fetched will fail, with the reason' >&2
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace --no-fail-fast --test-threads $(TEST_THREADS); \
		status=$$?; tests/slowest; exit $$status; \
	else \
		cargo test --workspace --lib --bins --tests --no-fail-fast; \
	fi

# The texts that people read, written anew into src/**/snapshots and tests/it/snapshots: look at the difference.
snapshots: servers
	INSTA_UPDATE=always cargo test --lib --test it --no-fail-fast

lint: compare-table
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --no-default-features -- -D warnings

# The examples in docs are compiled, too.
doc:
	cargo doc --workspace --no-deps
	cargo test --workspace --doc

# Real MySQL and MariaDB, unpacked under target/, an AWS emulator with AWS's Python client in an environment of
# their own, and DuckDB, Prometheus' client and another emulator in others. What failed before is tried again, and the versions are printed. Most tests break
# their server, so that even with HYDRANT_MYSQL_URL set they need these.
servers:
	@ok=true; dir="$${HYDRANT_SERVERS_DIR:-target/servers}"; \
	servers/fetch || ok=false; \
	servers/venv tests/python/requirements.txt "$$dir/python" >/dev/null || ok=false; \
	servers/venv tests/python/moto.txt "$$dir/python-moto" >/dev/null || ok=false; \
	servers/venv tests/python/prometheus.txt "$$dir/python-prometheus" >/dev/null || ok=false; \
	servers/venv demo/requirements.txt "$$dir/python-duckdb" >/dev/null || ok=false; \
	$$ok

bench:
	cargo bench --bench decode

# Under 15 minutes after the build, on a machine that does nothing else. bench/README.md has a quick look.
compare: servers
	cargo bench --bench compare -- --out bench/runs
	bench/table

# Whether README, docs/performance.md and the newest run's page say what the newest run says.
compare-table:
	bench/table --check

# The tests of kills and of suspended agents that `make test` has, for longer: half an hour on two cores.
torture: servers
	@echo 'TORTURE_KILLS=$(TORTURE_KILLS) TORTURE_SEED=$(TORTURE_SEED)'
	@export TORTURE_KILLS=$(TORTURE_KILLS) TORTURE_SEED=$(TORTURE_SEED); \
	if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace --no-fail-fast --test-threads $(TEST_THREADS) --success-output final \
			-E 'test(/^cdc::torture::|^cdc::backfill::(a_table|each_row)/)'; \
	else \
		cargo test --test it --no-fail-fast cdc::torture:: -- --nocapture && \
		cargo test --test it --no-fail-fast cdc::backfill:: -- --nocapture; \
	fi

# Needs a nightly toolchain and `cargo install cargo-fuzz`. What it finds is in fuzz/artifacts; once mended it
# belongs into fuzz/found, which the tests run.
fuzz:
	@for fuzzer in $(FUZZERS); do \
		mkdir -p fuzz/corpus/$$fuzzer; \
		cargo +nightly fuzz run $$fuzzer fuzz/corpus/$$fuzzer fuzz/seeds/$$fuzzer -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=2048 -max_len=16384 || exit 1; \
	done

# Written anew by real servers.
fuzz-seeds: servers
	HYDRANT_FUZZ_SEEDS=fuzz/seeds cargo test --test it fresh_captures

clean:
	cargo clean
