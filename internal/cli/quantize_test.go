package cli

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A file whose matrices are rounded opens as a model of that type, and what cannot be
// rounded or written is an error that says so.
func TestQuantizeWritesAModelOfTheType(t *testing.T) {
	const in = "../../lm/testdata/llamacpp/q4_0.gguf"
	out := filepath.Join(t.TempDir(), "out.gguf")
	if got := answer[quantized](t, "quantize", in, out, "--to", "q8_0"); got.Type != "Q8_0" || got.Tensors == 0 {
		t.Errorf("wrote %v", got)
	}
	if got := answer[shownModel](t, "inspect", out); got.DType != "Q8_0" || got.GGUF["general.file_type"] != float64(7) {
		t.Errorf("it is a model of %s, file type %v", got.DType, got.GGUF["general.file_type"])
	}
	if got := answer[generated](t, "generate", "--model", out, "--prompt", "Once", "--max-tokens", "2"); got.DType != "q8_0:i16" {
		t.Errorf("it computes in %s", got.DType)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"quantize", in, out}, "--to is missing"},
		{[]string{"quantize", in, out, "--to", "q9"}, "it is one of f32, bf16, f16, iq4_nl, mxfp4, q2_k"},
		{[]string{"quantize", in, in, "--to", "q8_0"}, "would be replaced"},
		{[]string{"quantize", "quantize_test.go", out, "--to", "q8_0", "--force"}, "not a folder and not a GGUF file"},
	} {
		if code, _, diagnostics := steerWith(t.Context(), "", c.args...); code == exitOK || !strings.Contains(diagnostics, c.want) {
			t.Errorf("%v: exit code %d, %s", c.args, code, diagnostics)
		}
	}
}

// A model that is no GGUF file becomes one, and writes as it did before.
func TestQuantizeWritesAModelOfSafetensors(t *testing.T) {
	write := func(model string) generated {
		return answer[generated](t, "generate", "--model", model, "--prompt", "Once there was", "--max-tokens", "12", "--temperature", "0")
	}
	want := write("demo")
	for to, dtype := range map[string]string{"bf16": "bf16", "q8_0": "q8_0:i16"} {
		out := filepath.Join(t.TempDir(), "out.gguf")
		if got := answer[quantized](t, "quantize", "demo", out, "--to", to); got.Tensors == 0 || !strings.EqualFold(got.Type, to) {
			t.Errorf("wrote %v", got)
		}
		got := write(out)
		if got.DType != dtype {
			t.Errorf("it computes in %s", got.DType)
		}
		if to == "bf16" && !reflect.DeepEqual(got.IDs, want.IDs) {
			t.Errorf("it writes %v, want %v", got.IDs, want.IDs)
		}
	}
}

// A model of the Hub's format computes with its weights in blocks when it is asked to.
func TestQuantizeFlagRoundsWhileLoading(t *testing.T) {
	for kind, dtype := range map[string]string{"q8_0": "q8_0:i16", "q4_k": "q5_0:i16", "none": "bf16"} {
		got := answer[generated](t, "generate", "--model", "demo", "--prompt", "Once", "--max-tokens", "2", "--quantize", kind)
		if got.DType != dtype {
			t.Errorf("--quantize %s computes in %s, want %s", kind, got.DType, dtype)
		}
	}
}
