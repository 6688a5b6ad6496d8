package llamacpp

import (
	"os"
	"testing"
)

// options are those of the libraries that STEER_LLAMACPP names: a folder, or require
// for the one that the script fetch makes. Without it tests are skipped where there is
// none. With STEER_LLAMACPP_GPU all layers lie on the GPU.
func options(t testing.TB) Options {
	t.Helper()
	folder, required := "lib", false
	switch value := os.Getenv(Folder); value {
	case "":
	case "require":
		required = true
	default:
		folder, required = value, true
	}
	o := Options{Libraries: folder}
	if onDevice() {
		o.GPULayers = AllLayers
	}
	if _, err := load(folder); err != nil {
		if required {
			t.Fatalf("%v; the script fetch brings llama.cpp's libraries", err)
		}
		t.Skipf("%v; the script fetch brings llama.cpp's libraries", err)
	}
	return o
}

func onDevice() bool { return os.Getenv("STEER_LLAMACPP_GPU") != "" }
