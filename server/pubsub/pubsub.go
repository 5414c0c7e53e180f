// Package pubsub carries messages between the pods of a shop through Redis. A message reaches whoever is
// subscribed at that moment and nobody later: what must not be lost is kept elsewhere, and a listener is
// told each time its subscription comes into being, so that it can read there what it may have missed.
package pubsub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Embedded is the URL of a Redis inside this process, for a shop of one pod.
const Embedded = "embedded"

const (
	dialTimeout    = 2 * time.Second
	commandTimeout = time.Second // one command, with its retry
)

// errURL does not quote the URL: it may hold a password.
var errURL = errors.New("not of the form redis://[[user]:password@]host[:port][/database], rediss://…, or embedded")

// Client is the shop's side of one Redis. It is safe for concurrent use.
type Client struct {
	server   atomic.Pointer[server]
	embedded *miniredis.Miniredis // nil unless the Redis is this process's own
	prefix   string
	log      *slog.Logger
	hooks    []redis.Hook
}

// Open prepares the Redis named by a URL: `redis://…`, `rediss://…` or [Embedded]. With `?master_name=…` it is
// that of a Sentinel, which tells where the master is. One that is not embedded is not contacted yet: see
// [Client.Await]. All channel names begin with the shop's name, so that shops can
// share a Redis. Hooks are told of each command that it gets.
func Open(rawURL, shop string, log *slog.Logger, hooks ...redis.Hook) (*Client, error) {
	client := &Client{prefix: shop + ":", log: log, hooks: hooks}
	if rawURL == Embedded {
		if err := client.embed(); err != nil {
			return nil, fmt.Errorf("start the embedded Redis: %w", err)
		}
		return client, nil
	}
	parsed, err := url.Parse(rawURL)
	if err != nil || (parsed.Scheme != "redis" && parsed.Scheme != "rediss") {
		return nil, errURL
	}
	if parsed.Query().Has("master_name") {
		options, err := redis.ParseFailoverURL(rawURL)
		if err != nil {
			return nil, fmt.Errorf("read the Redis URL: %w", err)
		}
		client.use(dialMaster(options))
		return client, nil
	}
	options, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("read the Redis URL: %w", err)
	}
	client.use(dial(options))
	return client, nil
}

// embed starts a Redis of this process on a free loopback port. Its password keeps the machine's other
// users out.
func (c *Client) embed() error {
	password := rand.Text()
	c.embedded = miniredis.NewMiniRedis()
	c.embedded.RequireAuth(password)
	if err := c.embedded.StartAddr("127.0.0.1:0"); err != nil {
		return err
	}
	c.use(dial(&redis.Options{Addr: c.embedded.Addr(), Password: password}))
	return nil
}

func (c *Client) use(server *server) {
	for _, hook := range c.hooks {
		server.AddHook(hook)
	}
	c.server.Store(server)
}

// server is one Redis, or the nodes of a Redis Cluster.
type server struct {
	redis.UniversalClient

	options *redis.Options // nil where Sentinels tell what it is
	cluster bool
}

func dial(options *redis.Options) *server {
	tune(options)
	return &server{UniversalClient: redis.NewClient(options), options: options}
}

// tune has every call end soon.
func tune(options *redis.Options) {
	logging.Disable()    // its lines go past the log and say what its errors say
	options.Protocol = 2 // all that pub/sub needs, and what every Redis and Valkey speaks
	options.DialTimeout = dialTimeout
	options.DialerRetries = 1 // whoever calls tries again, with a pause of its own
	options.ReadTimeout = commandTimeout
	options.WriteTimeout = commandTimeout
	options.ContextTimeoutEnabled = true
	options.MaxRetries = 1 // a pooled connection may have died unseen
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// dialMaster reaches the master that Sentinels tell of, and the next one when that is gone.
func dialMaster(options *redis.FailoverOptions) *server {
	var common redis.Options
	tune(&common)
	options.Protocol, options.MaxRetries, options.ContextTimeoutEnabled = common.Protocol, common.MaxRetries, common.ContextTimeoutEnabled
	options.DialTimeout, options.DialerRetries = common.DialTimeout, common.DialerRetries
	options.ReadTimeout, options.WriteTimeout = common.ReadTimeout, common.WriteTimeout
	return &server{UniversalClient: redis.NewFailoverClient(options)}
}

// Message is a payload on its way to everyone who listens to its channel.
type Message struct {
	Channel string
	Payload []byte
}

// Publish sends messages in their order, in one round trip of at most a second. After an error some may
// have been sent.
func (c *Client) Publish(ctx context.Context, messages ...Message) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	server := c.server.Load()
	_, err := server.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		publish := pipe.Publish
		if server.cluster {
			publish = pipe.SPublish
		}
		for _, message := range messages {
			publish(ctx, c.prefix+message.Channel, message.Payload)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("publish %d messages in Redis: %w", len(messages), err)
	}
	return nil
}

// Ping asks Redis for an answer, for at most a second.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if err := c.server.Load().Ping(ctx).Err(); err != nil {
		return fmt.Errorf("reach Redis: %w", err)
	}
	return nil
}

// IsRefused reports whether an error is that Redis answered and does not take the login.
func IsRefused(err error) bool { return redis.IsAuthError(err) || redis.IsPermissionError(err) }

// Await returns when Redis answers or ctx ends, and logs each failed attempt with the next one's time. If
// Redis turns out to be a Redis Cluster, it is used as one from then on.
func (c *Client) Await(ctx context.Context) error {
	var wait backoff
	for {
		err := c.recognize(ctx)
		if err == nil {
			return nil
		}
		pause := wait.next()
		c.log.Warn("waiting for Redis", "error", err, "retry_in", pause.String())
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// Close returns every connection, and ends an embedded Redis.
func (c *Client) Close() error {
	err := c.server.Load().Close()
	if c.embedded != nil {
		c.embedded.Close()
	}
	return err
}
