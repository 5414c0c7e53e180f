package tracing

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Redis makes a span of each command, and of each batch of commands, of a traced request.
func (t *Tracing) Redis() []redis.Hook {
	if t == nil {
		return nil
	}
	return []redis.Hook{redisHook{t.tracer}}
}

type redisHook struct{ tracer trace.Tracer }

// DialHook is that of a [redis.Hook]. A connection serves many requests: it is part of none.
func (h redisHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return next(ctx, network, address)
	}
}

// ProcessHook is that of a [redis.Hook].
func (h redisHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		if !traced(ctx) {
			return next(ctx, command)
		}
		return h.span(ctx, strings.ToUpper(command.Name()), func(ctx context.Context) error { return next(ctx, command) })
	}
}

// ProcessPipelineHook is that of a [redis.Hook].
func (h redisHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if !traced(ctx) {
			return next(ctx, commands)
		}
		return h.span(ctx, "PIPELINE", func(ctx context.Context) error { return next(ctx, commands) },
			attribute.Int("db.operation.batch.size", len(commands)))
	}
}

func (h redisHook) span(ctx context.Context, operation string, call func(context.Context) error, more ...attribute.KeyValue) error {
	ctx, span := h.tracer.Start(ctx, operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		append(more, attribute.String("db.system.name", "redis"), attribute.String("db.operation.name", operation))...))
	defer span.End()
	err := call(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		fail(span, redisCode(err))
	}
	return err
}

// redisCode is the first word of what Redis answers, which is a code such as WRONGTYPE, or what else ended a command.
func redisCode(err error) string {
	if refused, ok := errors.AsType[redis.Error](err); ok {
		code, _, _ := strings.Cut(refused.Error(), " ")
		return code
	}
	return outside(err)
}
