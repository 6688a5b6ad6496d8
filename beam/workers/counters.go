package workers

import (
	"context"
	"os"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/hooks"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
)

// A worker gives its counters short names, and tells once what they stand for. Prism
// keeps one list of these for a job, and fails where a counter of one worker is read as
// another's: as soon as a bundle takes long enough to be asked how far it is. So the
// names that leave a worker begin with its own.
func init() {
	id := os.Getenv(startedAs)
	if id == "" {
		return
	}
	const name = "steer:counters"
	hooks.RegisterHook(name, func([]string) hooks.Hook {
		return hooks.Hook{
			Req: func(ctx context.Context, request *fnpb.InstructionRequest) (context.Context, error) {
				names := request.GetMonitoringInfos().GetMonitoringInfoId()
				for i := range names {
					names[i] = strings.TrimPrefix(names[i], id)
				}
				return ctx, nil
			},
			Resp: func(_ context.Context, _ *fnpb.InstructionRequest, response *fnpb.InstructionResponse) error {
				if done := response.GetProcessBundle(); done != nil {
					done.MonitoringData = prefixed(id, done.MonitoringData)
				}
				if progress := response.GetProcessBundleProgress(); progress != nil {
					progress.MonitoringData = prefixed(id, progress.MonitoringData)
				}
				if meanings := response.GetMonitoringInfos(); meanings != nil {
					meanings.MonitoringInfo = prefixed(id, meanings.MonitoringInfo)
				}
				return nil
			},
		}
	})
	if err := hooks.EnableHook(name); err != nil {
		panic(err) // it was registered just now
	}
	hooks.SerializeHooksToOptions() // where Beam's worker looks for them
}

func prefixed[V any](prefix string, m map[string]V) map[string]V {
	out := make(map[string]V, len(m))
	for name, value := range m {
		out[prefix+name] = value
	}
	return out
}
