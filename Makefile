# Everything a developer types. `make` alone lists the targets.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Stages share two cores and the loopback ports: one after the other, even under -j.
.NOTPARALLEL:

GO       ?= go
FUZZTIME ?= 10s
SHOTS    ?=
ARGS     ?=
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The version comes from git describe. The go command's own look into the repository
# fails where another user owns the checkout, as in some CI containers.
export GOFLAGS += -buildvcs=false

CACHE  := $(CURDIR)/.cache
VENV   := $(CACHE)/venv
PYTHON := $(VENV)/bin/python
NODE_DIR := $(CURDIR)/test/interop/node

LINT := $(GO) tool -modfile=tools/go.mod golangci-lint
# golangci-lint keeps its results here, so that a second run is quick.
export GOLANGCI_LINT_CACHE := $(CACHE)/golangci-lint

# The packages whose statements must be covered by their own tests, and how much of them.
COVER_MIN      := 90
COVER_PACKAGES := ./internal/attest ./internal/enroll ./internal/register

# Written by pip and npm themselves or after them; newer than the pins means up to date.
PIP_PINS   := $(wildcard test/*/*/requirements.txt)
PIP_STAMP  := $(if $(PIP_PINS),$(VENV)/.installed)
NPM_LOCKS  := $(wildcard test/*/package-lock.json test/*/*/package-lock.json)
NPM_STAMPS := $(NPM_LOCKS:package-lock.json=node_modules/.package-lock.json)

say = @printf '\n== %s\n' '$(1)'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="--hostname dps.example --log-level debug" goes to make run, FUZZTIME=1m to make fuzz.'

.PHONY: deps
deps: deps-check deps-go deps-tools $(PIP_STAMP) $(NPM_STAMPS) ## install what the tests need into .cache and node_modules
	@echo 'deps: everything is there'

.PHONY: build
build: ## compile bin/mooring
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/mooring ./cmd/mooring

.PHONY: run
run: build ## compile, then start the service on its embedded defaults (ARGS are passed on)
	exec bin/mooring serve $(ARGS)

.PHONY: test
test: deps vet lint race cover fuzz interop fault portal ## run every test there is, the official SDKs included
	@printf '\n== every stage passed: vet, lint, race, cover, fuzz, interop, fault, portal\n'

.PHONY: vet
vet: ## go vet
	$(call say,go vet ./...)
	$(GO) vet ./...

.PHONY: lint
lint: ## golangci-lint, as pinned in tools/go.mod; formatting is one of its checks
	$(call say,golangci-lint (the first run compiles it for some minutes))
	$(LINT) run ./...

.PHONY: fmt
fmt: ## format the Go files with gofumpt
	$(LINT) fmt

.PHONY: race
race: ## unit, store, architecture and command-line tests under the race detector
	$(call say,go test -race (all but interop, fault and portal, which have their own stage))
	$(GO) test -race $$($(GO) list ./... | grep -Ev '/test/(interop|fault|portal)(/|$$)')

.PHONY: cover
cover: ## coverage of the rules, with a floor
	$(call say,coverage of the rules: at least $(COVER_MIN) % in each package)
	@tools/cover.sh $(COVER_MIN) $(COVER_PACKAGES)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	$(call say,every fuzz target for $(FUZZTIME))
	@FUZZTIME=$(FUZZTIME) tools/fuzz.sh

.PHONY: interop
interop: $(PIP_STAMP) $(NPM_STAMPS) ## the official SDKs against a real service
	$(call say,official SDKs: Python and Node.js)
	MOORING_TEST_REQUIRE=interop,fault \
	MOORING_TEST_PYTHON=$(PYTHON) \
	MOORING_TEST_NODE_DIR=$(NODE_DIR) \
		$(GO) test -race -count=1 -timeout 10m ./test/interop/...

.PHONY: fault
fault: ## kill -9, a full disk: nothing acknowledged is lost
	$(call say,faults: kill -9 and a full disk)
	MOORING_TEST_REQUIRE=interop,fault \
		$(GO) test -race -count=1 -timeout 10m ./test/fault/...

.PHONY: portal
portal: $(PIP_STAMP) $(NPM_STAMPS) ## the portal in a real Chromium; SHOTS=directory keeps the screenshots
	$(call say,portal: a real browser)
	MOORING_TEST_REQUIRE=interop,fault,portal \
	MOORING_TEST_PYTHON=$(PYTHON) \
	MOORING_TEST_NODE_DIR=$(NODE_DIR) \
	MOORING_TEST_SHOTS=$(SHOTS) \
		$(GO) test -count=1 -timeout 20m ./test/portal/...

.PHONY: bench
bench: build ## registrations against bare TLS, in turn
	@tools/bench.sh compare

.PHONY: bench-million bench-idle bench-hubs
bench-million: build ## registrations beside a million enrollments
	@tools/bench.sh million

bench-idle: build ## memory of idle MQTT connections
	@tools/bench.sh idle

bench-hubs: build ## registrations through hubs of another process
	@tools/bench.sh hubs

.PHONY: clean
clean: ## remove what was built, downloaded and measured; never data
	rm -rf bin .cache coverage.txt $(dir $(NPM_STAMPS))

.PHONY: deps-check deps-go deps-tools
deps-check:
	@tools/check.sh

deps-go:
	@echo 'deps: Go modules of the product and of the tools'
	@$(GO) mod download
	@cd tools && $(GO) mod download
	@cd test/interop/arm && $(GO) mod download

deps-tools:
	@echo 'deps: golangci-lint (compiled once, some minutes on two cores)'
	@$(LINT) version >/dev/null

$(VENV)/.installed: $(PIP_PINS)
	@echo 'deps: Python packages into .cache/venv: $(PIP_PINS)'
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-input $(PIP_PINS:%=-r %)
	@touch $@

%/node_modules/.package-lock.json: %/package-lock.json
	@echo 'deps: Node.js packages into $*/node_modules'
	@cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
