# make demo: two institutions train one credit model on this machine
# make test: everything that must hold; needs Go, and a C compiler for the race detector
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X kontor/node.Version=0.1.0+$(VERSION)
export GOFLAGS := -buildvcs=false

.PHONY: build demo test lint fmt vet race portable cross e2e bench fuzz clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/kontor ./cmd/kontor

demo: build
	./bin/kontor demo $(if $(DATA),--data '$(DATA)') $(DEMOFLAGS)

test: lint race portable cross

lint: vet
	@out=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); test -z "$$out" || { echo "gofmt would change: $$out; run make fmt"; exit 1; }
	$(GO) tool staticcheck ./...

vet:
	$(GO) vet ./...

fmt:
	gofmt -w $$(git ls-files '*.go')

# The race detector needs cgo. Without a C compiler the tests run without it. The
# tests that kill processes have deadlines, so they do not share the machine.
race:
	@if command -v $${CC:-cc} >/dev/null 2>&1 && [ "$$($(GO) env CGO_ENABLED)" = 1 ]; then race=-race; \
	else echo "no C compiler: the tests run without the race detector"; race=; fi; \
	$(GO) test $$race -timeout 15m $$($(GO) list ./... | grep -v '^kontor/cmd/\|^kontor/e2e') && \
	$(GO) test $$race -timeout 15m ./cmd/... && $(GO) test $(E2EFLAGS) -timeout 25m -count 1 ./e2e/...

# Nodes as processes, killed and cut off: all rounds. make test alone runs fewer.
E2EFLAGS ?= -short
e2e:
	$(GO) test -timeout 25m -count 1 ./e2e/...

# The build without assembly, and without cgo as it is shipped.
portable:
	CGO_ENABLED=0 $(GO) test -short -tags purego -timeout 10m ./ring/... ./matvec/... ./psi/... ./fed/...

cross:
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(GO) build -trimpath -o /dev/null ./cmd/kontor
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -trimpath -o /dev/null ./cmd/kontor
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) vet -tags purego ./ring/... ./matvec/...

bench: build
	$(GO) test -run '^$$' -bench . -benchmem ./ring/... ./matvec/... ./psi/... ./table/... ./transport/... ./fed/...
	./bin/kontor bench matvec --rows 200000 --features 50 --bins 32 --queries 16 --json
	./bin/kontor bench flow --json

# make fuzz FUZZTIME=1h runs every fuzz target for that long.
FUZZTIME ?= 10s
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz'); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

clean:
	rm -rf bin demo-out
