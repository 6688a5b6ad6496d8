package steer

import (
	"os"
	"os/exec"
	"testing"

	"github.com/steervec/steer/lm/cpu/kernel"
)

// The goldens hold whatever instructions compute them, and so do the equalities, of
// which a part is looked at: the tests run once more for each set that is not the one
// in use.
func TestGoldensHoldWithEveryInstructionSet(t *testing.T) {
	if os.Getenv("STEER_INSTRUCTIONS") != "" {
		t.Skip("an instruction set is forced")
	}
	inUse, _ := kernel.Instructions()
	for _, set := range kernel.Available() {
		if set == inUse {
			continue
		}
		t.Run(set, func(t *testing.T) {
			c := exec.Command(os.Args[0], "-test.short", "-test.run=^(TestGoldens|TestResultsDoNotDependOnWhatIsComputedTogether)$")
			c.Env = append(os.Environ(), "STEER_INSTRUCTIONS="+set)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
