//go:build !amd64 && !arm64

package kernel

func supported() []*instructionSet { return nil }
