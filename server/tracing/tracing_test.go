package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func TestTheEnvironmentDecides(t *testing.T) {
	const here = "http://127.0.0.1:4318"
	for _, row := range []struct {
		environment string
		on, refused bool
	}{
		{"", false, false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=" + here, true, false},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + here, true, false},
		{"OTEL_TRACES_EXPORTER=otlp", true, false},
		{"OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=" + here, false, false},
		{"OTEL_SDK_DISABLED=true OTEL_EXPORTER_OTLP_ENDPOINT=" + here, false, false},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=" + here, false, true},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=" + here, true, false},
	} {
		t.Run(row.environment, func(t *testing.T) {
			for setting := range strings.FieldsSeq(row.environment) {
				name, value, _ := strings.Cut(setting, "=")
				t.Setenv(name, value)
			}
			traces, err := Start(t.Context(), "test", "shop", slog.New(slog.DiscardHandler))
			if (err != nil) != row.refused || (traces != nil) != row.on {
				t.Fatalf("tracing is %v, %v", traces != nil, err)
			}
			if off := traces.HTTP() == nil && traces.Tracer() == nil && len(traces.Postgres())+len(traces.Redis()) == 0; off == row.on {
				t.Errorf("off is %v", off)
			}
			if err := traces.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// recorder keeps spans in memory.
func recorder(t *testing.T) (*Tracing, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return &Tracing{provider: provider, tracer: provider.Tracer("test")}, spans
}

// connect is to a database and a Redis whose calls are traced.
func connect(t *testing.T, traces *Tracing) (*database.DB, *redis.Client) {
	t.Helper()
	db, err := database.Open(t.Context(), databasetest.Postgres(t), traces.Postgres()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Ping(t.Context()); err != nil { // so that the connection is there
		t.Fatal(err)
	}
	options, err := redis.ParseURL(databasetest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	cache := redis.NewClient(options)
	t.Cleanup(func() { _ = cache.Close() })
	for _, hook := range traces.Redis() {
		cache.AddHook(hook)
	}
	return db, cache
}

// What went wrong is told by its code. The texts of these errors quote values.
func TestFailuresTellNoValues(t *testing.T) {
	traces, spans := recorder(t)
	db, cache := connect(t, traces)
	ctx, request := traces.tracer.Start(t.Context(), "request")
	if err := db.WithContext(ctx).Exec("SELECT CAST(CAST(? AS text) AS integer)", "hush").Error; err == nil {
		t.Error("PostgreSQL took a word for a number")
	}
	if err := cache.Set(ctx, "hush", "hush", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := cache.LPush(ctx, "hush", "hush").Err(); err == nil {
		t.Error("Redis took a text for a list")
	}
	late, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()
	if err := db.Ping(late); err == nil {
		t.Error("the database answered too late, and was heard")
	}
	request.End()

	want := map[string]string{"SELECT": "22P02", "SET": "", "LPUSH": "WRONGTYPE"}
	for _, span := range spans.GetSpans() {
		if strings.Contains(fmt.Sprint(span.Name, span.Attributes, span.Status, span.Events), "hush") {
			t.Errorf("%s tells a value: %v %v %v", span.Name, span.Attributes, span.Status, span.Events)
		}
		code, known := want[span.Name]
		if !known {
			continue
		}
		delete(want, span.Name)
		attributes := attribute.NewSet(span.Attributes...)
		got, _ := attributes.Value("error.type")
		if got.AsString() != code || (span.Status.Code == codes.Error) != (code != "") {
			t.Errorf("%s failed with %q, want %q", span.Name, got.AsString(), code)
		}
		if span.Parent.SpanID() != request.SpanContext().SpanID() {
			t.Errorf("%s is no child of the request", span.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("there are no spans of %v", want)
	}
}

// What the server does by itself, now and then, makes no traces.
func TestWhatBelongsToNoRequestIsNotTraced(t *testing.T) {
	traces, spans := recorder(t)
	db, err := database.Open(t.Context(), databasetest.Postgres(t), traces.Postgres()...)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.WithContext(t.Context()).Exec("SELECT 1").Error; err != nil {
		t.Fatal(err)
	}
	if got := spans.GetSpans(); len(got) > 0 {
		t.Errorf("there are spans: %v", got)
	}
}

func TestLongStatementsAreCut(t *testing.T) {
	for _, row := range []struct{ statement, operation, text string }{
		{"  select\n1", "SELECT", "  select\n1"},
		{strings.Repeat("é", statementLimit), strings.Repeat("É", statementLimit/2) + "…", strings.Repeat("é", statementLimit/2) + "…"},
		{"", "", ""},
	} {
		if operation, text := firstWord(row.statement), shortened(row.statement); operation != row.operation || text != row.text {
			t.Errorf("%.20q became %.20q and %.20q", row.statement, operation, text)
		}
	}
}
