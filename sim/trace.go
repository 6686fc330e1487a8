package sim

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// traceHandler puts a node's log into the trace.
type traceHandler struct {
	h     *host
	attrs []slog.Attr
}

func (t *traceHandler) Enabled(context.Context, slog.Level) bool { return true }

func (t *traceHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	for _, a := range t.attrs {
		fmt.Fprintf(&b, " %v", a)
	}
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %v", a)
		return true
	})
	t.h.w.say("%v log: %s%s", t.h.id, r.Message, b.String())
	return nil
}

func (t *traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &traceHandler{t.h, append(t.attrs[:len(t.attrs):len(t.attrs)], attrs...)}
}

func (t *traceHandler) WithGroup(string) slog.Handler { return t }
