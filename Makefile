# Everything a developer types. `make` alone lists the targets.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Stages share two cores and the loopback ports: one after the other, even under -j.
.NOTPARALLEL:

GO       ?= go
FUZZTIME ?= 10s
SAMPLE   ?= 0
SEED     ?= 1
MATCH    ?=
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
JAVA_DIR := $(CACHE)/java

LINT := $(GO) tool -modfile=tools/go.mod golangci-lint
# golangci-lint keeps its results here, so that a second run is quick.
export GOLANGCI_LINT_CACHE := $(CACHE)/golangci-lint

# The packages whose statements must be covered by their own tests, and how much of them.
COVER_MIN      := 90
COVER_NAMES    := attest enroll register
COVER_PACKAGES := $(COVER_NAMES:%=./internal/%)
empty          :=
COVER_PATTERN  := $(subst $(empty) $(empty),|,$(COVER_NAMES))

# The packages that are mutated, each with other packages whose tests count, behind commas;
# PACKAGES=internal/sas names others.
PACKAGES := internal/sas internal/access internal/attest,test/pkits internal/register internal/hub/iothub internal/store/sqlite

# Go's own limit of ten minutes for a package is too short for a busy machine with two cores.
RACE_TIMEOUT := 30m

# The platforms, beside the one it runs on, that the binary is compiled for.
PLATFORMS := linux/arm64 darwin/arm64 windows/amd64

# Written by pip, npm and Maven themselves or after them; newer than the pins means up to date.
PIP_PINS   := $(wildcard test/*/requirements.txt test/*/*/requirements.txt)
PIP_STAMP  := $(if $(PIP_PINS),$(VENV)/.installed)
NPM_LOCKS  := $(wildcard test/*/package-lock.json test/*/*/package-lock.json)
NPM_STAMPS := $(NPM_LOCKS:package-lock.json=node_modules/.package-lock.json)
MVN_PINS   := test/interop/java/pom.xml
MVN_STAMP  := $(JAVA_DIR)/.installed

comma := ,
say = @printf '\n== %s\n' '$(1)'

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="--hostname dps.example --log-level debug" goes to make run, FUZZTIME=1m to make fuzz.'

.PHONY: deps
deps: deps-check deps-go deps-tools $(PIP_STAMP) $(NPM_STAMPS) $(MVN_STAMP) ## install what the tests need into .cache and node_modules
	@echo 'deps: everything is there'

.PHONY: build
build: ## compile bin/mooring
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/mooring ./cmd/mooring

.PHONY: run
run: build ## compile, then start the service on its embedded defaults (ARGS are passed on)
	exec bin/mooring serve $(ARGS)

.PHONY: test
test: deps tidy vet lint cross race cover interop fault portal ## run every test there is, the official SDKs included
	@printf '\n== every stage passed: tidy, vet, lint, cross, race, cover, interop, fault, portal\n'

.PHONY: tidy
tidy: ## go.mod and go.sum say what the code needs
	$(call say,go mod tidy -diff)
	$(GO) mod tidy -diff

.PHONY: cross
cross: ## compile for the other platforms
	$(call say,go build for $(PLATFORMS))
	@for platform in $(PLATFORMS); do \
		echo "-- $$platform"; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0 $(GO) build ./...; \
	done

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
race: $(PIP_STAMP) ## unit, store, architecture and command-line tests, and the seeds of the fuzz targets, under the race detector
	$(call say,go test -race (all but the stages that follow))
	MOORING_TEST_REQUIRE=pkits \
		$(GO) test -race -timeout $(RACE_TIMEOUT) $$($(GO) list ./... | grep -Ev '/test/(interop|fault|portal)(/|$$)|/internal/($(COVER_PATTERN))$$')

.PHONY: cover
cover: ## tests of the rules under the race detector, with a floor for their coverage
	$(call say,go test -race of the rules: at least $(COVER_MIN) % covered in each package)
	@tools/cover.sh $(COVER_MIN) -race -timeout $(RACE_TIMEOUT) $(COVER_PACKAGES)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME; the go command keeps what it finds in its cache
	$(call say,every fuzz target for $(FUZZTIME))
	@FUZZTIME=$(FUZZTIME) tools/fuzz.sh

.PHONY: mutants
mutants: $(PIP_STAMP) ## change the product in one place at a time; at least 95 % have to be noticed (PACKAGES, SAMPLE=200, SEED=2)
	$(call say,mutants of $(PACKAGES))
	@nice $(GO) run ./test/mutants -sample $(SAMPLE) -seed $(SEED) -match '$(MATCH)' $(PACKAGES)

.PHONY: interop
interop: $(PIP_STAMP) $(NPM_STAMPS) $(MVN_STAMP) ## the official SDKs against a real service
	$(call say,official SDKs: Python$(comma) Node.js and Java)
	MOORING_TEST_REQUIRE=interop,fault \
	MOORING_TEST_PYTHON=$(PYTHON) \
	MOORING_TEST_NODE_DIR=$(NODE_DIR) \
	MOORING_TEST_JAVA_DIR=$(JAVA_DIR) \
		$(GO) test -race -count=1 -timeout 20m ./test/interop/...

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

$(MVN_STAMP): $(MVN_PINS)
	@echo 'deps: Java libraries into .cache/java'
	@rm -rf $(JAVA_DIR)
	@mvn -q -B -f $(MVN_PINS) dependency:copy-dependencies -DoutputDirectory=$(JAVA_DIR)
	@touch $@
