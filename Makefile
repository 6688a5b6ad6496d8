.PHONY: build test check

build:
	go build -o bin/ ./cmd/steer

test:
	go test ./...

check:
	.ci/run
