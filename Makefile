# What people run. Each target says what it does: `make help`.

.DEFAULT_GOAL := help
.PHONY: help run test client client-test server-test client-verify tools lint circles docs deny ci smoke chaos autobahn fuzz \
	cluster bench bench-check benches compare scale rolling-restart generate verify

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 20

run: ## Start one node on the memory backend, and print where to click
	cargo run --release -p fanfare-gateway --bin fanfare

test: tools ## Run every test, having installed what they need
	cargo test --workspace
	$(MAKE) --no-print-directory client-test server-test

client: ## Build the JavaScript client: its package, and what nodes serve at /client.js
	cd gateway/client && npm ci --no-audit --no-fund && npm run --silent build

client-test: ## Build and test the JavaScript client; installs what it needs by npm
	gateway/client/verify/quick

server-test: ## Try the libraries for backends, in the languages that are here
	gateway/client/server/test/run

client-verify: ## Try the client's package in each bundler and runtime (minutes, by npm)
	gateway/client/verify/all

tools: ## Install what the tests need: redis-server, Chromium, Node.js, npm
	.ci/tools

lint: ## Check format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

circles: ## Check that source files import each other in one direction
	shared/circles --verify
	shared/circles

docs: ## Build the documentation of the code
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

deny: ## Check licences, versions and known faults of what is depended on (needs cargo-deny)
	.ci/deny

smoke: ## Drive a node with k6, and see that the check can fail
	cargo build -p fanfare-gateway
	loadtest/k6/run smoke
	loadtest/k6/verify

chaos: ## Break a cluster on purpose, fault by fault, and check what clients were told
	loadtest/chaos/run

autobahn: ## Hold a node to RFC 6455 with the Autobahn test suite (needs Python 2.7)
	gateway/tests/autobahn/run

fuzz: ## Fuzz all that reads bytes from outside, 5 minutes each
	gateway/fuzz/run

cluster: ## Start Redis, three nodes, HAProxy and Prometheus here; Ctrl-C stops all
	deploy/cluster/up

rolling-restart: ## Restart three nodes under load behind HAProxy and nginx
	loadtest/rolling-restart

bench: ## Measure every figure that has a target, beside the floor
	loadtest/bench

bench-check: ## Fail if a ratio or an instruction count is worse than the committed one
	loadtest/bench-check

benches: ## Measure each part of a message's way by criterion
	cargo bench -p fanfare-shared -p fanfare-broker -p fanfare-gateway --bench parts

compare: ## Measure Fanfare beside its peers
	loadtest/compare/run

scale: ## Measure how costs grow, and reckon what a million connections take
	loadtest/scale

generate: ## Write what is made from other files: dashboards, the Kustomize base
	deploy/generate

verify: ## Check the chart, Compose, the image, dashboards and alerts
	deploy/verify/chart
	deploy/verify/compose
	deploy/verify/image
	deploy/verify/monitoring

ci: ## All that a change has to pass
	.ci/run
