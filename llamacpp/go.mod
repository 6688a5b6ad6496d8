module github.com/steervec/steer/llamacpp

go 1.26.0

replace github.com/steervec/steer => ../

require (
	github.com/ebitengine/purego v0.10.0
	github.com/hybridgroup/yzma v1.28.0
	github.com/jupiterrider/ffi v0.7.0
	github.com/steervec/steer v0.0.0-00010101000000-000000000000
)

require (
	github.com/dlclark/regexp2 v1.11.5 // indirect
	github.com/gofrs/flock v0.13.0 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	golang.org/x/tools v0.49.0 // indirect
	gonum.org/v1/gonum v0.17.0 // indirect
)
