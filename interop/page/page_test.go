// Package page tries the server's page in a real browser.
package page

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/steervec/steer"
	"github.com/steervec/steer/lm"
	"github.com/steervec/steer/pairs"
	"github.com/steervec/steer/serve"
)

// chromium returns the browser's program. Without one the tests are skipped, unless
// STEER_REQUIRE_BROWSER says that they must run.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("STEER_REQUIRE_BROWSER") != "" {
		t.Fatal("there is no chromium")
	}
	t.Skip("there is no chromium (Debian: chromium)")
	return ""
}

// open serves the demonstration model and opens the page in a browser's window.
func open(t *testing.T, hash string) (ctx context.Context, address string) {
	t.Helper()
	program := chromium(t)
	model, err := lm.Open(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	file, err := pairs.Open("../../testdata/mood.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	vector, err := steer.Train(t.Context(), model, file.Samples, steer.TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := serve.New(model, serve.Options{
		Vectors: map[string]*steer.Vector{"mood": vector}, AllowUpload: true,
		Presets: map[string]json.RawMessage{"grumpy": json.RawMessage(`{"edits":[{"vector":"mood","multiplier":-0.8,"layers":[3]}]}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	local := httptest.NewServer(server)
	t.Cleanup(func() {
		local.Close()
		server.Close()
	})
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WindowSize(1600, 1100))
	allocated, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(allocated)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(stop)
	chromedp.ListenTarget(ctx, func(event any) {
		if thrown := failureOf(event); thrown != "" {
			t.Errorf("the page fails: %s", thrown)
		}
	})
	do(t, ctx, chromedp.Navigate(local.URL+"/"+hash), chromedp.WaitVisible("#edits .edit, #edits[hidden]", chromedp.ByQuery))
	return ctx, local.URL
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask returns what an expression is in the page.
func ask[T any](t *testing.T, ctx context.Context, expression string) (value T) {
	t.Helper()
	do(t, ctx, chromedp.Evaluate(expression, &value))
	return value
}

// write presses the button and waits for the texts of all columns.
func write(t *testing.T, ctx context.Context) {
	t.Helper()
	do(t, ctx, chromedp.Click("#run", chromedp.ByQuery))
	ended(t, ctx)
}

func ended(t *testing.T, ctx context.Context) {
	t.Helper()
	do(t, ctx, chromedp.Poll(`document.querySelectorAll(".column").length > 0 && !document.querySelector(".column.waiting")`, nil, chromedp.WithPollingTimeout(time.Minute)))
}

// texts returns the columns' texts without the prompts.
func texts(t *testing.T, ctx context.Context) []string {
	t.Helper()
	return ask[[]string](t, ctx, `[...document.querySelectorAll(".column .text")].map(e => [...e.children].filter(c => c.className != "prompt").map(c => c.textContent).join(""))`)
}

// picture keeps a picture of the whole page in the folder that STEER_PICTURES names.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("STEER_PICTURES")
	if folder == "" {
		return
	}
	var png []byte
	do(t, ctx, chromedp.FullScreenshot(&png, 100))
	if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o666); err != nil {
		t.Fatal(err)
	}
}

func shape(width, height int64, dark bool) chromedp.Action {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	return chromedp.Tasks{
		emulation.SetDeviceMetricsOverride(width, height, 1, width < 600),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
	}
}

func TestColumnsDifferBySteeringOnly(t *testing.T) {
	ctx, _ := open(t, "")
	write(t, ctx)
	both := texts(t, ctx)
	if len(both) != 2 || both[0] == both[1] || both[0] == "" {
		t.Fatalf("the columns are %q", both)
	}
	picture(t, ctx, "page")
	do(t, ctx, shape(400, 800, false))
	picture(t, ctx, "page-narrow")
	if wide := ask[float64](t, ctx, `document.documentElement.scrollWidth`); wide > 400 {
		t.Errorf("at 400 pixels the page is %v wide", wide)
	}
	do(t, ctx, shape(1600, 1000, true))
	picture(t, ctx, "page-dark")
	do(t, ctx, shape(400, 800, true))
	picture(t, ctx, "page-narrow-dark")
	do(t, ctx, shape(1600, 1000, false))

	// At strength 0 both columns are the same.
	do(t, ctx, chromedp.SetValue(".amount", "0", chromedp.ByQuery), chromedp.Evaluate(`document.querySelector(".amount").dispatchEvent(new Event("input"))`, nil))
	write(t, ctx)
	if same := texts(t, ctx); same[0] != both[0] || same[1] != both[0] {
		t.Errorf("at strength 0 the columns are %q, without steering %q", same, both[0])
	}
	// Five strengths: the middle one is the unsteered text.
	do(t, ctx, chromedp.SetValue(".amount", "0.5", chromedp.ByQuery), chromedp.Evaluate(`document.querySelector(".amount").dispatchEvent(new Event("input"))`, nil),
		chromedp.Click(`[name=view][value=sweep]`, chromedp.ByQuery))
	write(t, ctx)
	if five := texts(t, ctx); len(five) != 5 || five[2] != both[0] || five[4] != both[1] {
		t.Errorf("five strengths give %q; two gave %q", five, both)
	}
	picture(t, ctx, "page-sweep")
}

func TestTokensAreColouredByTheProjectionsOfTheAPI(t *testing.T) {
	ctx, address := open(t, "")
	write(t, ctx)
	type token struct {
		Text                string
		Unsteered, Steered  float64
		Underlined          bool
		Red, Green, Blue, A float64
	}
	shown := ask[[][]token](t, ctx, `[...document.querySelectorAll(".column")].map(c => [...c.querySelectorAll(".token")].map(s => {
		const [red, green, blue, a = 1] = (getComputedStyle(s).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
		return {text: s.textContent, unsteered: s.token.values.unsteered, steered: s.token.values.steered, underlined: s.classList.contains("steered"), red, green, blue, a};
	}))`)
	body := ask[string](t, ctx, `JSON.stringify({...JSON.parse(document.getElementById("code").value), n: 2})`)
	var answer struct {
		Choices []struct {
			Text  string
			Steer struct {
				Projections []struct {
					Of               string
					Prompt, Response []float64
				}
				Edits []struct{ Positions [][2]int }
			}
		}
	}
	post(t, address+"/v1/completions", body, &answer)
	for c, choice := range answer.Choices {
		most := 0.0
		for _, column := range shown {
			for _, tok := range column {
				most = max(most, math.Abs(tok.Unsteered))
			}
		}
		for _, p := range choice.Steer.Projections {
			for i, want := range append(p.Prompt, p.Response...) {
				tok := shown[c][i]
				got := tok.Unsteered
				if p.Of == "steered" {
					got = tok.Steered
				}
				if got != want {
					t.Errorf("column %d, token %d: projection %s %v, want %v", c, i, p.Of, got, want)
				}
				if p.Of == "unsteered" && math.Abs(tok.A-0.55*math.Abs(want)/most) > 0.01 {
					t.Errorf("column %d, token %d %q of projection %v is shaded %v", c, i, tok.Text, want, tok.A)
				}
				if p.Of == "unsteered" && math.Abs(want) > most/10 && (tok.Red > tok.Blue) != (want > 0) {
					t.Errorf("column %d, token %d of projection %v has the colour of the other side", c, i, want)
				}
			}
		}
		underlined := map[int]bool{}
		for _, e := range choice.Steer.Edits {
			for _, p := range e.Positions {
				for i := p[0]; i < p[1]; i++ {
					underlined[i] = true
				}
			}
		}
		for i, tok := range shown[c] {
			if tok.Underlined != underlined[i] {
				t.Errorf("column %d, token %d: underlined %v, steered %v", c, i, tok.Underlined, underlined[i])
			}
		}
	}
}

func TestTheCopiedCurlGivesTheTexts(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	for _, mode := range []string{"completion", "chat"} {
		ctx, _ := open(t, "")
		do(t, ctx, chromedp.Click(`[name=mode][value=`+mode+`]`, chromedp.ByQuery), chromedp.SetValue("#prompt", `Tom's "dog" ran. <b>One</b> day`, chromedp.ByQuery),
			chromedp.Evaluate(`document.getElementById("prompt").dispatchEvent(new Event("input"))`, nil))
		write(t, ctx)
		want := texts(t, ctx)
		do(t, ctx, chromedp.Click("#tab-curl", chromedp.ByQuery))
		command := ask[string](t, ctx, `document.getElementById("code").value`)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command).Output()
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Choices []struct {
				Text    string
				Message struct{ Content string }
			}
		}
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		for i, choice := range answer.Choices {
			if got := choice.Text + choice.Message.Content; got != want[i] {
				t.Errorf("%s, choice %d: curl gives %q, the page %q", mode, i, got, want[i])
			}
		}
		for _, tab := range []string{"python", "go"} {
			do(t, ctx, chromedp.Click("#tab-"+tab, chromedp.ByQuery))
			checkSyntax(t, tab, ask[string](t, ctx, `document.getElementById("code").value`))
		}
	}
}

// checkSyntax has a language's own tool read code.
func checkSyntax(t *testing.T, language, code string) {
	t.Helper()
	command := map[string][]string{"python": {"python3", "-c", "import ast, sys; ast.parse(sys.stdin.read())"}, "go": {"gofmt", "-l"}}[language]
	if _, err := exec.LookPath(command[0]); err != nil {
		return
	}
	check := exec.CommandContext(t.Context(), command[0], command[1:]...)
	check.Stdin = strings.NewReader(code)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%s does not read\n%s\n%s", language, code, out)
	}
}

func TestALinkRestoresEverything(t *testing.T) {
	ctx, _ := open(t, "")
	do(t, ctx, chromedp.SetValue("#seed", "11", chromedp.ByQuery), chromedp.Evaluate(`document.getElementById("seed").dispatchEvent(new Event("input"))`, nil),
		chromedp.Click(`[name=mode][value=chat]`, chromedp.ByQuery), chromedp.Click("#link", chromedp.ByQuery))
	want := ask[string](t, ctx, `document.getElementById("code").value`)
	hash := ask[string](t, ctx, `location.hash`)
	ctx, _ = open(t, hash)
	if got := ask[string](t, ctx, `document.getElementById("code").value`); got != want || !strings.Contains(want, `"seed": 11`) {
		t.Errorf("the link restores %s, want %s", got, want)
	}
}

func TestWhatIsTypedAndWrittenIsShownAsText(t *testing.T) {
	ctx, _ := open(t, "")
	hostile := `<img src=x onerror="document.title='taken'"> <script>document.title="taken"</script>`
	do(t, ctx, chromedp.SetValue("#prompt", hostile, chromedp.ByQuery), chromedp.Evaluate(`document.getElementById("prompt").dispatchEvent(new Event("input"))`, nil))
	write(t, ctx)
	if title := ask[string](t, ctx, `document.title`); title != "steer" {
		t.Errorf("the prompt ran: the title is %q", title)
	}
	if n := ask[int](t, ctx, `document.querySelectorAll("#columns img, #columns script").length`); n > 0 {
		t.Errorf("the prompt made %d elements", n)
	}
	// A request that the server refuses is told with the place of the mistake.
	do(t, ctx, chromedp.Evaluate(`(() => { const c = document.getElementById("code"); const r = JSON.parse(c.value); r.steering_choices[1].edits[0].layers = [99]; c.value = JSON.stringify(r); c.dispatchEvent(new Event("input")); })()`, nil),
		chromedp.Click("#run", chromedp.ByQuery), chromedp.WaitVisible("#problem", chromedp.ByQuery))
	if told := ask[string](t, ctx, `document.getElementById("problem").textContent`); !strings.Contains(told, "steering_choices[1].edits[0].layers[0]") {
		t.Errorf("a wrong layer is told as %q", told)
	}
}

func TestAVectorIsTrainedAndUsedInThePage(t *testing.T) {
	ctx, _ := open(t, "")
	do(t, ctx,
		chromedp.SetValue("#positive", "Tom was happy\nAnna was glad", chromedp.ByQuery), chromedp.SetValue("#negative", "Tom was sad\nAnna was angry", chromedp.ByQuery),
		chromedp.SetValue("#vector-name", "cheer", chromedp.ByQuery), chromedp.Click("#train [type=submit]", chromedp.ByQuery),
		chromedp.Poll(`[...document.querySelectorAll("#vectors h3")].some(h => h.textContent == "cheer")`, nil, chromedp.WithPollingTimeout(time.Minute)),
		chromedp.Poll(`document.getElementById("code").value.includes('"cheer"')`, nil, chromedp.WithPollingTimeout(time.Minute)))
	write(t, ctx)
	if both := texts(t, ctx); both[0] == both[1] {
		t.Errorf("the vector changes nothing: %q", both)
	}
	if cosines := ask[string](t, ctx, `document.getElementById("vectors").textContent`); !strings.Contains(cosines, "cosine with mood") {
		t.Errorf("the vectors are told as %q", cosines)
	}
	picture(t, ctx, "page-trained")
}

func TestThePageIsUsedWithTheKeyboardAlone(t *testing.T) {
	ctx, _ := open(t, "")
	do(t, ctx, chromedp.Focus("#prompt", chromedp.ByQuery), chromedp.Evaluate(`document.getElementById("prompt").dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", ctrlKey: true, bubbles: true}))`, nil))
	ended(t, ctx)
	do(t, ctx, chromedp.Focus(".token[tabindex='0']", chromedp.ByQuery))
	before := ask[string](t, ctx, `document.getElementById("told").textContent`)
	do(t, ctx, chromedp.KeyEvent("\ue014")) // the arrow to the right
	if after := ask[string](t, ctx, `document.getElementById("told").textContent`); after == before || !strings.Contains(after, "projection unsteered") {
		t.Errorf("from a token the arrow leads from %q to %q", before, after)
	}
	// A text that is being written is stopped.
	do(t, ctx, chromedp.SetValue("#max_tokens", "400", chromedp.ByQuery), chromedp.Evaluate(`document.getElementById("max_tokens").dispatchEvent(new Event("input"))`, nil),
		chromedp.Evaluate(`document.getElementById("run").click(); document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape", bubbles: true}))`, nil))
	ended(t, ctx)
	if foot := ask[string](t, ctx, `document.querySelector(".column footer").textContent`); foot != "stopped" {
		t.Errorf("Escape ends a text with %q", foot)
	}
}

// post sends a body and reads the answer.
func post(t *testing.T, address, body string, answer any) {
	t.Helper()
	response, err := http.Post(address, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", address, response.Status, err)
	}
}

// failureOf returns what an event tells of a script that failed.
func failureOf(event any) string {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		return e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError {
			return fmt.Sprint(e.Args)
		}
	}
	return ""
}
