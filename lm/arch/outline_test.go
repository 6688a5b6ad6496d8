package arch

import (
	"strings"
	"testing"
)

func TestAnOutlineIsChecked(t *testing.T) {
	for name, test := range map[string]struct{ config, err string }{
		"all that is asked":   {`{"model_type":"m","hidden_size":8,"num_hidden_layers":2,"vocab_size":5}`, ""},
		"no type":             {`{"hidden_size":8,"num_hidden_layers":2,"vocab_size":5}`, "model_type is missing"},
		"no layers":           {`{"model_type":"m","hidden_size":8,"num_hidden_layers":0,"vocab_size":5}`, "num_hidden_layers is 0"},
		"layers beyond any":   {`{"model_type":"m","hidden_size":8,"num_hidden_layers":100000,"vocab_size":5}`, "num_hidden_layers is 100000"},
		"no size":             {`{"model_type":"m","num_hidden_layers":2,"vocab_size":5}`, "hidden_size is missing"},
		"an empty vocabulary": {`{"model_type":"m","hidden_size":8,"num_hidden_layers":2,"vocab_size":0}`, "the vocabulary size is 0"},
		"no JSON":             {`{`, "config.json"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Outline([]byte(test.config))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, site := range Sites() {
				if shows := d.HasSite(1, site); shows != (site != AttnHeads) {
					t.Errorf("the site %s is shown: %v", site, shows)
				}
			}
			if d.StateWeight() != 0 || d.RopeVariant(1000) != 0 || d.Module(1, MLPOutput) != "layers.1.mlp" {
				t.Errorf("the decoder is %+v", d)
			}
		})
	}
}
