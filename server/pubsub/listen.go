package pubsub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// silence is how long a subscription may hear nothing before it asks Redis for a sign of life, and how long
// it then waits for one.
const silence = 3 * time.Second

// Listener is what a subscription calls, one call at a time.
type Listener struct {
	Subscribed func() // each time the subscription is in place: what was published before it is missed
	Lost       func() // each time it is so no longer; may be nil
	Received   func(payload string)
}

// Listen subscribes to channels until ctx ends, again whenever the connection is lost.
func (c *Client) Listen(ctx context.Context, channels []string, listener Listener) error {
	var wait backoff
	inPlace := Listener{Received: listener.Received, Subscribed: func() {
		wait = backoff{}
		c.log.Info("listening in Redis", "channels", len(channels))
		listener.Subscribed()
	}}
	for {
		err := c.listenOnce(ctx, channels, inPlace)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how this ends
		}
		if listener.Lost != nil {
			listener.Lost()
		}
		pause := wait.next()
		c.log.Warn("not listening in Redis", "error", err, "retry_in", pause.String())
		if sleep(ctx, pause) != nil {
			return nil //nolint:nilerr // as above
		}
	}
}

// listenOnce listens until the first error. The library would reconnect by itself, at once and unseen.
func (c *Client) listenOnce(ctx context.Context, channels []string, listener Listener) error {
	server := c.server.Load()
	if server.cluster {
		return c.listenSharded(ctx, server, channels, listener)
	}
	subscription := server.Subscribe(ctx)
	return receive(ctx, subscription, subscription.Subscribe, c.prefixed(channels), listener)
}

// receive subscribes and listens until the first error.
func receive(ctx context.Context, subscription *redis.PubSub, subscribe func(context.Context, ...string) error,
	channels []string, listener Listener,
) error {
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })() // ends a read that waits
	defer func() { _ = subscription.Close() }()                         // nothing is lost with it
	if err := subscribe(ctx, channels...); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	confirmed, asked := 0, false
	for {
		received, err := subscription.ReceiveTimeout(ctx, silence)
		switch {
		case isTimeout(err) && !asked && confirmed > 0:
			err = subscription.Ping(ctx)
			asked = true
		case err == nil:
			asked = false
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		switch received := received.(type) {
		case *redis.Subscription:
			if received.Kind == "sunsubscribe" {
				return errMoved
			}
			if confirmed++; confirmed%len(channels) == 0 {
				listener.Subscribed()
			}
		case *redis.Message:
			listener.Received(received.Payload)
		}
	}
}

func (c *Client) prefixed(channels []string) []string {
	names := make([]string, len(channels))
	for i, channel := range channels {
		names[i] = c.prefix + channel
	}
	return names
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// backoff is the pause before the next attempt: from 100 ms, doubled each time, to 5 s, with jitter, so
// that pods that lost the same Redis do not return as one.
type backoff struct{ last time.Duration }

func (b *backoff) next() time.Duration {
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	b.last = min(max(2*b.last, first), longest)
	return b.last/2 + rand.N(b.last/2) //nolint:gosec // jitter need not be unguessable
}

func sleep(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}
