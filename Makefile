# What people run. Each target says what it does: `make help`.

.DEFAULT_GOAL := help
.PHONY: help run test tools lint docs ci

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

run: ## Start one node on the memory backend, and print where to click
	cargo run --release -p fanfare-gateway --bin fanfare

test: tools ## Run every test, having installed what they need
	cargo test --workspace
	node --test gateway/client/

tools: ## Install what the tests need: redis-server, Chromium, Node.js
	.ci/tools

lint: ## Check format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

docs: ## Build the documentation of the code
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

ci: ## All that a change has to pass
	.ci/run
