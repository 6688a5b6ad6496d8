package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steervec/steer"
)

// Colons and commas part a vector's file from its multiplier and options, unless
// a file has the whole as its name.
func TestVectorFlagPartsFileMultiplierAndOptions(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"v", "v:2", "v:2:3", "a,b", "w,layers=1"} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Skipf("this system has no file %q: %v", name, err)
		}
	}
	for _, test := range []struct {
		text string
		want string // path, multiplier, layers, operator, tokens
	}{
		{"v", "v 1 - add -"},
		{"v:2", "v:2 1 - add -"},
		{"v:2:3", "v:2:3 1 - add -"},
		{"v:-1.5", "v -1.5 - add -"},
		{"v:2:-1.5", "v:2 -1.5 - add -"},
		{"v:1e-3", "v 0.001 - add -"},
		{"a,b:3", "a,b 3 - add -"},
		{"a,b:3,operator=ablate", "a,b 3 - ablate -"},
		{"w,layers=1", "w,layers=1 1 - add -"},
		{"w,layers=1:7", "w,layers=1 7 - add -"},
		{"w,layers=1,layers=2", "w,layers=1 1 2 add -"},
		{"v,layers=1,3,-1,tokens=1,4", "v 1 1,3,-1 add 1,4"},
		{"v:0.5,tokens=1::2,operator=ablate-then-add,layers=8:20:2", "v 0.5 8:20:2 ablate-then-add 1::2"},
		{"v:2,layers=1-3", "v:2 1 1-3 add -"},
		{"v:3,operator=clamp:floor=0,ceiling=1,layers=2", "v 3 2 clamp:floor=0,ceiling=1 -"},
		{filepath.Join("missing", "v"), filepath.Join("missing", "v") + " 1 - add -"},
		{`C:\vectors\v.safetensors:2`, `C:\vectors\v.safetensors 2 - add -`},
	} {
		v, err := parseVector(test.text, steer.Intervention{Operator: "add"})
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		multiplier, layers := 1.0, "-"
		if v.Multiplier != nil {
			multiplier = *v.Multiplier
		}
		if v.Layers != nil {
			layers = v.Layers.String()
		}
		if got := fmt.Sprint(v.Vector, " ", multiplier, " ", layers, " ", v.Operator, " ", cmp.Or(v.Tokens, "-")); got != test.want {
			t.Errorf("%s: %s, want %s", test.text, got, test.want)
		}
	}
	for text, want := range map[string]string{
		"x:two": `"two" is not a multiplier`, ":2": "not a multiplier", `C:\missing`: "not a multiplier", "v,operater=add": "is none of",
		"v,operator=turn": "it is one of add", "v,operator=rotate": "by is missing", "v,layers=x": `"x" is not a layer`, "v,tokens=1::0": "not positive", "v,layers=1,layers=2": "given twice",
	} {
		if v, err := parseVector(text, steer.Intervention{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: file %s, %v; want %q", text, v.Vector, err, want)
		}
	}
}
