package tracing

import (
	"net/http"

	"github.com/gofiber/fiber/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// HTTP is a handler that stands before all others, or nil.
func (t *Tracing) HTTP() fiber.Handler {
	if t == nil {
		return nil
	}
	return t.request
}

// request makes a span of each request but the probes. A trusted proxy's trace is gone on with. Anybody else's is
// linked to only: a client has no say in what is recorded.
func (t *Tracing) request(c *fiber.Ctx) error {
	if path := c.Path(); path == "/healthz" || path == "/readyz" {
		return c.Next()
	}
	ctx := c.UserContext()
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	remote := w3c.Extract(ctx, headers{c})
	if came := trace.SpanContextFromContext(remote); c.IsProxyTrusted() {
		ctx = remote
	} else if came.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: came}))
	}
	ctx, span := t.tracer.Start(ctx, "HTTP", options...)
	defer span.End()
	c.SetUserContext(ctx)
	err := c.Next()
	describe(span, c)
	return err
}

// describe names a span by the route, once it is known. Its method and path are Fiber's own, not the request's.
func describe(span trace.Span, c *fiber.Ctx) {
	if !span.IsRecording() {
		return
	}
	route, status := c.Route(), c.Response().StatusCode()
	span.SetName(route.Method + " " + httpapi.RouteName(route))
	span.SetAttributes(
		attribute.String("http.request.method", route.Method),
		attribute.String("http.route", httpapi.RouteName(route)),
		attribute.Int("http.response.status_code", status),
		attribute.String("shop.request_id", httpapi.RequestID(c)),
	)
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}

// headers are those of a request, as the propagator reads them.
type headers struct{ *fiber.Ctx }

// Get returns a header. It is read at once and not kept.
func (h headers) Get(name string) string { return h.Ctx.Get(name) }

// Set does nothing: a request is read.
func (h headers) Set(string, string) {}

// Keys are none: the propagator knows what it looks for.
func (h headers) Keys() []string { return nil }
