package workers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/container/tools"
	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/util/grpcx"
)

// Boot makes this process a worker where a runner started it as one, with
// --environment_type=PROCESS and this program as the command: then it works, and does
// not return. Else it does nothing; it comes before flags are parsed. A runner says
// where it is to be asked for the rest, and the flags of Beam's worker take the place of
// what it said.
func Boot() error {
	var id, provision string
	for _, argument := range os.Args[1:] {
		name, value, _ := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		switch name {
		case "id":
			id = strings.Trim(value, "'")
		case "provision_endpoint":
			provision = value
		}
	}
	if provision == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(grpcx.WriteWorkerID(context.Background(), id), time.Minute)
	defer cancel()
	info, err := tools.ProvisionInfo(ctx, provision)
	if err != nil {
		return fmt.Errorf("ask %s for the work: %w", provision, err)
	}
	os.Args = []string{os.Args[0], "--worker", "--id=" + id, "--logging_endpoint=" + info.GetLoggingEndpoint().GetUrl(), "--control_endpoint=" + info.GetControlEndpoint().GetUrl()}
	if err := os.Setenv("RUNNER_CAPABILITIES", strings.Join(info.GetRunnerCapabilities(), " ")); err != nil {
		return err
	}
	flag.Parse()
	beam.Init() // the worker's life
	return errors.New("the worker went on after its end")
}
