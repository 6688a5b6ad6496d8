package lm
import ("testing";"context";"fmt";"time";"os";"runtime/pprof"
"github.com/steervec/steer/lm/cpu/kernel")
const cfg = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":%d,"num_hidden_layers":%d,"num_attention_heads":%d,"num_key_value_heads":%d,"intermediate_size":%d,"vocab_size":%d,"rms_norm_eps":1e-5,"rope_theta":10000,"max_position_embeddings":4096,"tie_word_embeddings":true,"hidden_act":"silu"}`
func TestProbe(t *testing.T) {
	for _, c := range []struct{name string; h,l,nh,kv,in,v int}{{"135M",576,30,9,3,1536,49152},{"360M",960,32,15,5,2560,49152},{"1B",2048,16,32,8,8192,128256}} {
		if os.Getenv("ONLY") != "" && os.Getenv("ONLY") != c.name { continue }
		num := Auto
		if os.Getenv("F32") != "" { num = BFloat16 }
		s := time.Now()
		m, err := Random(context.Background(), c.name, []byte(fmt.Sprintf(cfg, c.h,c.l,c.nh,c.kv,c.in,c.v)), num)
		if err != nil { t.Fatal(err) }
		fmt.Println(c.name, m.Parameters()/1e6, m.Computes(), time.Since(s))
		tokens := make([]int, 512)
		for i := range tokens { tokens[i] = (i*7919)%c.v }
		linear := 0.0
		for range c.l { linear += float64(c.h)*float64(c.h)*2 + 2*float64(c.h)*float64(c.h/c.nh*c.kv) + 3*float64(c.h)*float64(c.in) }
		f, _ := os.Create("/tmp/cpu."+c.name); 
		for i := range 3 {
			if i == 2 { pprof.StartCPUProfile(f) }
			pk := kernel.MeasurePeak(100*time.Millisecond)
			s = time.Now()
			_, err = m.Forward(context.Background(), []Input{{Tokens: tokens, Read: []int{511}}}, ForwardOptions{Logits: func(int,int,[]float32){}})
			d := time.Since(s)
			fmt.Printf("%v %.0f GFLOP/s of %.0f: %.3f\n", d, linear*2*512/d.Seconds()/1e9, pk.Pairs/1e9, linear*2*512/d.Seconds()/pk.Products(m.executor.Precision))
		}
		pprof.StopCPUProfile()
		f, _ = os.Create("/tmp/dec."+c.name); pprof.StartCPUProfile(f)
		for range 5 {
		pk := kernel.MeasurePeak(50*time.Millisecond)
		s = time.Now()
		n := 40
		_, err = m.Generate(context.Background(), []Input{{Tokens: tokens[:8]}}, GenerateOptions{MaxTokens: n+1, IgnoreEnd: true})
		d := time.Since(s)
		bytes := 2*(linear + float64(c.h)*float64(c.v))
		fmt.Printf("decode %.1f tok/s %.1f GB/s of %.1f: %.3f\n", float64(n)/d.Seconds(), bytes*float64(n)/d.Seconds()/1e9, pk.Read/1e9,  bytes*float64(n)/d.Seconds()/pk.Read)
		}
		pprof.StopCPUProfile()
	}
}
