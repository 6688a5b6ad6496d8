.PHONY: build test check generate demo-report bench bench-compare

build:
	go build -o bin/ ./cmd/steer

test:
	go test ./...

check:
	.ci/run

generate:
	go generate ./...

# docs/demo-report.html, and its picture where there is a Chromium to take it.
demo-report:
	go run ./internal/demodata docs/demo
	go build -o bin/ ./cmd/steer
	cd docs/demo && PATH="$(CURDIR)/bin:$$PATH" sh ./sweep.sh
	cd docs && ./demo/picture.sh

bench:
	go run ./cmd/steer bench

# make bench-compare OLD=main~5 NEW=main FLAGS="-bench Product ./lm/cpu/kernel"
bench-compare:
	.ci/bench-compare $(OLD) $(NEW) $(FLAGS)
