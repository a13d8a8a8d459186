package jobs

import (
	"context"
	"log/slog"
)

// troubles lets through what somebody has to know. River counts its jobs every few
// seconds: a log that a person reads has no place for it.
type troubles struct{ to slog.Handler }

func (h troubles) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.to.Enabled(ctx, l)
}

func (h troubles) Handle(ctx context.Context, r slog.Record) error { return h.to.Handle(ctx, r) }

func (h troubles) WithAttrs(attrs []slog.Attr) slog.Handler { return troubles{h.to.WithAttrs(attrs)} }

func (h troubles) WithGroup(name string) slog.Handler { return troubles{h.to.WithGroup(name)} }
