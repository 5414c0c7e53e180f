package tracing

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const (
	statementLimit = 1 << 10          // bytes of a statement that are kept
	waitWorthwhile = time.Millisecond // a wait for a connection that is worth a span
)

// Postgres makes a span of each statement of a traced request, and of each wait for a connection.
func (t *Tracing) Postgres() []pgx.QueryTracer {
	if t == nil {
		return nil
	}
	return []pgx.QueryTracer{&postgres{t.tracer}}
}

type postgres struct{ tracer trace.Tracer }

var (
	_ pgxpool.AcquireTracer = (*postgres)(nil)
	_ pgx.BatchTracer       = (*postgres)(nil)
)

// TraceQueryStart is that of a [pgx.QueryTracer]. The statement has placeholders where its values go.
func (p *postgres) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	return p.start(ctx, firstWord(query.SQL), query.SQL)
}

func (p *postgres) start(ctx context.Context, operation, text string) context.Context {
	if !traced(ctx) {
		return ctx
	}
	ctx, _ = p.tracer.Start(ctx, operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("db.system.name", "postgresql"),
		attribute.String("db.operation.name", operation),
		attribute.String("db.query.text", shortened(text)),
	))
	return ctx
}

// TraceQueryEnd is that of a [pgx.QueryTracer]. The span is the statement's own, or one that records nothing.
func (p *postgres) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryEndData) {
	end(ctx, query.Err)
}

func end(ctx context.Context, err error) {
	span := trace.SpanFromContext(ctx)
	if err != nil {
		fail(span, sqlState(err))
	}
	span.End()
}

// TraceBatchStart is that of a [pgx.BatchTracer]: statements of one round trip are one span.
func (p *postgres) TraceBatchStart(ctx context.Context, _ *pgx.Conn, batch pgx.TraceBatchStartData) context.Context {
	var texts []string
	for _, query := range batch.Batch.QueuedQueries {
		texts = append(texts, query.SQL)
	}
	return p.start(ctx, "BATCH", strings.Join(texts, ";\n"))
}

// TraceBatchQuery is that of a [pgx.BatchTracer].
func (p *postgres) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd is that of a [pgx.BatchTracer].
func (p *postgres) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, batch pgx.TraceBatchEndData) {
	end(ctx, batch.Err)
}

type acquireKey struct{}

// TraceAcquireStart is that of a [pgxpool.AcquireTracer].
func (p *postgres) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	if !traced(ctx) {
		return ctx
	}
	return context.WithValue(ctx, acquireKey{}, time.Now())
}

// TraceAcquireEnd is that of a [pgxpool.AcquireTracer].
func (p *postgres) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, acquired pgxpool.TraceAcquireEndData) {
	started, ok := ctx.Value(acquireKey{}).(time.Time)
	if !ok || acquired.Err == nil && time.Since(started) < waitWorthwhile {
		return
	}
	_, span := p.tracer.Start(ctx, "wait for a connection", trace.WithTimestamp(started),
		trace.WithAttributes(attribute.String("db.system.name", "postgresql")))
	if acquired.Err != nil {
		fail(span, sqlState(acquired.Err))
	}
	span.End()
}

// fail marks a span as failed. The code is all that is told: an error's text may quote values.
func fail(span trace.Span, code string) {
	span.SetStatus(codes.Error, "")
	span.SetAttributes(attribute.String("error.type", code))
}

// sqlState is the error code of PostgreSQL, or what else ended a statement.
func sqlState(err error) string {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code
	}
	return outside(err)
}

// outside is what ended a call that its callee did not answer.
func outside(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	default:
		return "unreachable"
	}
}

func firstWord(statement string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(statement), " ")
	word, _, _ = strings.Cut(word, "\n")
	return strings.ToUpper(shortened(word))
}

func shortened(statement string) string {
	if len(statement) <= statementLimit {
		return statement
	}
	end := statementLimit
	for end > 0 && !utf8.RuneStart(statement[end]) {
		end--
	}
	return statement[:end] + "…"
}
