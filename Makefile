# Thin targets: what they do stands in scripts/. `make` alone lists them.
#
# PG_CONFIG chooses the server to build for and to run (PostgreSQL 15 by default):
#   make demo PG_CONFIG=/path/to/pg_config

export PG_CONFIG

.DEFAULT_GOAL := help
.PHONY: help demo demo-stop test lint install docs bench package

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, start a private server, fill two tenants, show what the protection does
	@scripts/demo.sh

demo-stop: ## stop the demo's server and delete its data
	@scripts/demo.sh stop

test: ## everything: format, lints, unit, in-database and real-connection tests, docs
	@scripts/test.sh

lint: ## formatting and clippy, all targets
	@scripts/lint.sh

install: ## build and install the extension into the server of PG_CONFIG
	@scripts/install.sh

docs: ## regenerate docs/ from a live catalog
	@scripts/docs.sh

bench: ## what is claimed about speed, measured side by side
	@scripts/bench.sh

package: ## build the tree of files that a package of the extension holds
	@scripts/package.sh
