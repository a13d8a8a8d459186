# Two commands do everything on a machine that has Go, Node and the package
# registries: make demo and make test. Both say what they install before they
# do, and leave nothing running.
.PHONY: demo test build lint

build:
	go build -o bin/citygate ./cmd/citygate

# The main job: a day of a city, played against the embedded default.
demo: build
	bin/citygate demo --once $(DEMO)

# Everything: format, vet, lint, unit, database, story, fault and kill tests.
test:
	.ci/test.sh

lint:
	cd deploy/lint && go build -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run ./...
