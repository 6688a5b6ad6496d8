.PHONY: build test check generate bench bench-compare

build:
	go build -o bin/ ./cmd/steer

test:
	go test ./...

check:
	.ci/run

generate:
	go generate ./...

bench:
	go run ./cmd/steer bench

# make bench-compare OLD=main~5 NEW=main FLAGS="-bench Product ./lm/cpu/kernel"
bench-compare:
	.ci/bench-compare $(OLD) $(NEW) $(FLAGS)
