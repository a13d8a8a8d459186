package jobs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestQueueTellsItsTroublesOnly(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(troubles{slog.NewTextHandler(&out, nil)})
	for _, l := range []*slog.Logger{log, log.With("queue", "default"), log.WithGroup("river")} {
		l.Info("producer: Producer job counts")
		l.Warn("something is stuck")
	}
	if s := out.String(); strings.Contains(s, "counts") || strings.Count(s, "stuck") != 3 {
		t.Errorf("the log has %s", s)
	}
	if log = slog.New(troubles{slog.DiscardHandler}); log.Enabled(t.Context(), slog.LevelError) {
		t.Error("a silent log is asked to write")
	}
}
