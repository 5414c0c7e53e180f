// Package tracing tells an OpenTelemetry collector what a request did, from its arrival to the notification
// that it caused on another pod: spans of HTTP, PostgreSQL and Redis, sent as OTLP over HTTP. It is off, and
// then nothing of it is on any path, unless the standard OTEL_ variables of the environment name a collector:
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
//
// A span says what was done and never with which values: no query, no body, no argument, no error text.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// flushTimeout is for the last spans to reach the collector.
const flushTimeout = 5 * time.Second

// w3c is how a trace goes on in another process: https://www.w3.org/TR/trace-context/
var w3c propagation.TraceContext

// Tracing makes spans and sends them. Make it with [Start]. A nil one does nothing at all.
type Tracing struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Start returns nil if the environment does not ask for traces. The collector is not contacted yet. shop tells
// the spans of one shop from those of another.
func Start(ctx context.Context, version, shop string, log *slog.Logger) (*Tracing, error) {
	if !wanted() {
		return nil, nil //nolint:nilnil // no tracing is one of the cases
	}
	if protocol := protocol(); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL=%q: want http/protobuf", protocol)
	}
	exporter, err := otlptracehttp.New(ctx) // which reads OTEL_EXPORTER_OTLP_…
	if err != nil {
		return nil, fmt.Errorf("prepare to send traces: %w", err)
	}
	attributes, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		attribute.String("service.name", "shopkeeper"), attribute.String("service.version", version),
		attribute.String("service.namespace", shop),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	// Its errors would go to the standard error otherwise, past the log.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces are lost", "error", err) }))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(attributes)) // reads OTEL_TRACES_SAMPLER and OTEL_BSP_…
	return &Tracing{provider: provider, tracer: provider.Tracer("github.com/shopkeeper-dev/shopkeeper/server")}, nil
}

// wanted tells whether the environment names a collector, and does not say otherwise.
func wanted() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	switch os.Getenv("OTEL_TRACES_EXPORTER") {
	case "otlp":
		return true
	case "":
		return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	default:
		return false
	}
}

func protocol() string {
	if own := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"); own != "" {
		return own
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
}

// Tracer makes spans of other kinds; nil if nothing is traced.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

// Close sends the last spans.
func (t *Tracing) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// traced tells whether a context belongs to a request that is being traced. What the server does by itself,
// now and then, is none.
func traced(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }
