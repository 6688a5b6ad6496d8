//go:build !amd64

package kernel

func supported() []*instructionSet { return nil }
