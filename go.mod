module github.com/steervec/steer

go 1.26.0

require (
	github.com/ardanlabs/jinja v1.8.0 // indirect
	github.com/dlclark/regexp2 v1.11.5 // indirect
	github.com/mmcloughlin/avo v0.6.0 // indirect
	golang.org/x/sys v0.43.0 // indirect
	golang.org/x/text v0.31.0 // indirect
	golang.org/x/tools v0.44.1-0.20260420230617-19499e7caabc // indirect
	gonum.org/v1/gonum v0.17.0 // indirect
)
