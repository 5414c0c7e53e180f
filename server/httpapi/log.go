package httpapi

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// requestContext is a context that knows its request's id.
type requestContext struct {
	context.Context

	id string
}

type requestIDKey struct{}

// Value returns the context itself for the one key it knows.
func (c *requestContext) Value(key any) any {
	if key == (requestIDKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// WithRequestID makes everything that is done with the context bear a request's id.
func WithRequestID(ctx context.Context, id string) context.Context { return &requestContext{ctx, id} }

// RequestIDOf is the id of the request for which something is done, "" if it is done for none.
func RequestIDOf(ctx context.Context) string {
	if c, ok := ctx.Value(requestIDKey{}).(*requestContext); ok {
		return c.id
	}
	return ""
}

// Correlated adds to each log line the id of the request that its context belongs to, and of the trace if
// there is one.
func Correlated(handler slog.Handler) slog.Handler { return correlated{handler} }

type correlated struct{ slog.Handler }

// Handle is that of a [slog.Handler].
func (h correlated) Handle(ctx context.Context, record slog.Record) error {
	if id := RequestIDOf(ctx); id != "" {
		record.AddAttrs(slog.String("request_id", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs is that of a [slog.Handler].
func (h correlated) WithAttrs(attributes []slog.Attr) slog.Handler {
	return correlated{h.Handler.WithAttrs(attributes)}
}

// WithGroup is that of a [slog.Handler].
func (h correlated) WithGroup(name string) slog.Handler { return correlated{h.Handler.WithGroup(name)} }
