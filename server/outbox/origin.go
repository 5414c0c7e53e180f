package outbox

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// traceparent is W3C's name for the place of a span in its trace: https://www.w3.org/TR/trace-context/
const traceparent = "traceparent"

var w3c propagation.TraceContext

// OriginOf is the request for which something is done: its id and, if it is traced, a comma and the
// traceparent of its span. Neither has a space in it.
func OriginOf(ctx context.Context) string {
	id := httpapi.RequestIDOf(ctx)
	if !trace.SpanFromContext(ctx).IsRecording() {
		return id
	}
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	return id + "," + carrier[traceparent]
}

// within makes a context part of the request that an event comes from.
func (e Event) within(ctx context.Context) context.Context {
	id, place, traced := strings.Cut(e.Origin, ",")
	if id != "" {
		ctx = httpapi.WithRequestID(ctx, id)
	}
	if traced {
		ctx = w3c.Extract(ctx, propagation.MapCarrier{traceparent: place})
	}
	return ctx
}

// TraceWith makes spans of how events travel, if they come from a request that is traced. It comes before
// [Outbox.Run].
func (o *Outbox) TraceWith(tracer trace.Tracer) { o.tracer = tracer }

// departs begins the spans of events that are about to be published, and makes the spans their origin.
func (o *Outbox) departs(ctx context.Context, events []Event) (spans []trace.Span) {
	if o.tracer == nil {
		return nil
	}
	for i, event := range events {
		within := event.within(ctx)
		if !trace.SpanContextFromContext(within).IsSampled() {
			continue
		}
		within, span := o.tracer.Start(within, "publish notification", trace.WithSpanKind(trace.SpanKindProducer))
		events[i].Origin = OriginOf(within)
		spans = append(spans, span)
	}
	return spans
}

// departed notes what was published, or not.
func (o *Outbox) departed(ctx context.Context, events []Event, spans []trace.Span, err error) {
	for _, span := range spans {
		span.End()
	}
	if err != nil || !o.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for _, event := range events {
		o.log.DebugContext(event.within(ctx), "published a notification", "user_id", event.UserID, "event_id", event.EventID)
	}
}

// Arrived notes that since a moment an event was brought to its user's sockets on this pod.
func (o *Outbox) Arrived(event Event, since time.Time, sockets int) {
	ctx := context.Background()
	if o.tracer == nil && !o.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	ctx = event.within(ctx)
	if o.tracer != nil && trace.SpanContextFromContext(ctx).IsSampled() {
		var span trace.Span
		ctx, span = o.tracer.Start(ctx, "deliver notification", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(since))
		span.End()
	}
	o.log.DebugContext(ctx, "delivered a notification", "user_id", event.UserID, "event_id", event.EventID, "sockets", sockets)
}
