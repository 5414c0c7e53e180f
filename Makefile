# Shopkeeper's commands; `make` lists them. A machine needs Go and, but for `make run` and `make build`,
# to be a Debian with root: everything else is installed or built at the first use, and kept.

VERSION := 0.1.0
export VERSION

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

# Where the local cluster and what it is built of are kept.
export SHOPKEEPER_HOME ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/shopkeeper
# The API server and etcd that `control-plane` builds for tests, and kubectl beside them.
export KUBEBUILDER_ASSETS := $(SHOPKEEPER_HOME)/bin
# Not on command lines, so that all builds share one cache.
export GOFLAGS := -trimpath -buildvcs=false

LDFLAGS := -s -w -X main.version=$(VERSION)
TOOL := CGO_ENABLED=0 go tool -modfile=hack/tools/go.mod

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run a shop right here, with no setting at all
	go run -ldflags "-X main.version=$(VERSION)" ./server

.PHONY: up
up: ## Start a local cluster with a shop in it (or install into the one of KUBECONFIG)
	hack/cluster/up

.PHONY: down
down: ## Stop the local cluster and leave nothing of it behind
	hack/cluster/down

# SQLite is C in the clothes of Go, whose memory the race detector would watch at great cost and to no end. A
# process with a race detector sleeps a second at its end unless it is told not to. One package more runs than there
# are processors, for most wait now and then. The packages that take longest come first: what is begun last must not
# be what all wait for.
LONGEST := ./controllers/shop ./controllers/proof ./server ./server/app ./server/catalog
.PHONY: test
test: control-plane ## Run all tests, on real databases and a real API server
	hack/setup chromium gcc libc6-dev postgresql redis-server
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 go test -race -gcflags=modernc.org/...=-race=false -p $$(($$(nproc) + 1)) -timeout 20m \
		$(TESTFLAGS) $(LONGEST) ./...

.PHONY: e2e
e2e: ## Run the end-to-end tests on the cluster of `NODES=2 make up`, and the fault tests for longer
	hack/setup postgresql redis-server
	SHOPKEEPER_FAULT_ROUNDS=8 go test -count=1 -timeout 10m -run TestNothingIsLost ./server
	KUBECONFIG=$${KUBECONFIG:-$$SHOPKEEPER_HOME/kubeconfig} go test -tags e2e -count=1 -timeout 30m -v ./hack/e2e/...

.PHONY: proof
proof: control-plane ## Disturb every call of the operator (or each Nth: EVERY=N)
	go test -count=1 -timeout 2h ./controllers/proof -every $(or $(EVERY),1)

.PHONY: bench
bench: ## Measure start, apply to Ready and rest, the latter two on the cluster of `make up`
	for table in coldstart ready rest; do go run ./hack/bench $$table; done

.PHONY: lint
lint: lint-go lint-generated lint-manifests lint-scripts ## Check code, generated files, manifests and scripts

.PHONY: lint-go
lint-go:
	go mod tidy -diff
	$(TOOL) golangci-lint run --allow-serial-runners

.PHONY: lint-generated
lint-generated:
	hack/ci/generated

.PHONY: lint-manifests
lint-manifests: control-plane
	hack/ci/packaging

.PHONY: lint-scripts
lint-scripts:
	hack/setup shellcheck
	git ls-files -co --exclude-standard | xargs awk 'FNR == 1 && /^#!.*sh$$|^# shellcheck shell=/ {print FILENAME}' | xargs shellcheck
	@echo "No file names a package registry: a machine knows its own"
	! git grep -nIE '(proxy|sum)[.]golang[.]org|registry[.]npmjs[.]org|deb[.]debian[.]org'

.PHONY: generate
generate: ## Make again what follows from the sources
	hack/generate

.PHONY: build
build: ## Build the programs into dist/; kubectl finds its plugin there with dist/ on the PATH
	CGO_ENABLED=0 go build -ldflags "$(LDFLAGS)" -o dist/shopkeeper-server ./server
	CGO_ENABLED=0 go build -ldflags "$(LDFLAGS)" -o dist/shopkeeper-operator ./controllers
	CGO_ENABLED=0 go build -ldflags "$(LDFLAGS)" -o dist/kubectl-shop ./controllers/kubectl-shop
	ln -sf kubectl-shop dist/kubectl_complete-shop

.PHONY: dist
dist: control-plane ## Package the operator into dist/: install.yaml for kubectl apply, and the chart
	mkdir -p dist
	$$KUBEBUILDER_ASSETS/kubectl kustomize config/default >dist/install.yaml
	$(TOOL) helm package charts/shopkeeper --destination dist

.PHONY: image-check
image-check: ## Build the Dockerfile's images without Docker, and look into them
	hack/dockerfile-check

.PHONY: control-plane
control-plane:
	hack/cluster/build control-plane >/dev/null
