package pubsub_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

func TestMain(m *testing.M) { databasetest.Main(m) }

func TestOpenRefusesWhatIsNoRedisURL(t *testing.T) {
	for name, url := range map[string]string{
		"empty":           "",
		"scheme":          "http://:hunter2@localhost",
		"socket":          "unix:///run/redis.sock",
		"port":            "redis://:hunter2@localhost:port",
		"unescaped slash": "redis://:hunter2/x@localhost",
		"database":        "redis://:hunter2@localhost:6379/one",
		"control":         "redis://:hunter2\x7f@localhost",
		"sentinel":        "redis://:hunter2@localhost/one?master_name=shop",
	} {
		t.Run(name, func(t *testing.T) {
			client, err := pubsub.Open(url, "shop", slog.Default())
			if err == nil {
				_ = client.Close()
				t.Fatal("it was taken")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestMessagesArriveInOrderAtEveryListenerOfTheShop(t *testing.T) {
	for name, url := range map[string]string{"redis": databasetest.Redis(t), "embedded": pubsub.Embedded} {
		t.Run(name, func(t *testing.T) {
			ours := open(t, url, "ours")
			first, second := listen(t, ours, "a", "b"), listen(t, ours, "b")
			theirs := listen(t, ours, "c")
			if url != pubsub.Embedded {
				theirs = listen(t, open(t, url, "theirs"), "a", "b")
			}
			publish(t, ours, "a", "1")
			publish(t, ours, "b", "2", "3")
			first.expect(t, "1", "2", "3")
			second.expect(t, "2", "3")
			theirs.expectNothing(t)
		})
	}
}

func TestEmbeddedRedisIsNobodyElses(t *testing.T) {
	client := open(t, pubsub.Embedded, "shop")
	address := client.EmbeddedAddress()
	if !strings.HasPrefix(address, "127.0.0.1:") {
		t.Errorf("it listens on %s", address)
	}
	stranger := redis.NewClient(&redis.Options{Addr: address})
	defer func() { _ = stranger.Close() }()
	if err := stranger.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("a stranger without the password got %v", err)
	}
}

func TestListenerIsToldOfEveryNewSubscription(t *testing.T) {
	t.Parallel()
	server := databasetest.StartRedis(t)
	client := open(t, server.URL(), "shop")
	listener := listen(t, client, "a", "b")

	t.Run("after a restart", func(t *testing.T) {
		server.Stop(t)
		if err := client.Publish(t.Context(), pubsub.Message{Channel: "a"}); err == nil {
			t.Error("published without a Redis")
		}
		server.Start(t)
		listener.expectSubscribed(t)
		publish(t, client, "b", "after the restart")
		listener.expect(t, "after the restart")
	})
	t.Run("after a silence", func(t *testing.T) {
		server.Pause(t)
		time.Sleep(7 * time.Second) // twice its patience and a bit
		server.Resume(t)
		listener.expectSubscribed(t)
		publish(t, client, "a", "after the silence")
		listener.expect(t, "after the silence")
	})
}

func TestCallsEndThoughRedisHangs(t *testing.T) {
	t.Parallel()
	server := databasetest.StartRedis(t)
	client := open(t, server.URL(), "shop")
	server.Pause(t)
	for name, call := range map[string]func(context.Context) error{
		"ping":    client.Ping,
		"publish": func(ctx context.Context) error { return client.Publish(ctx, pubsub.Message{Channel: "a"}) },
	} {
		started := time.Now()
		if err := call(t.Context()); err == nil {
			t.Errorf("%s: a paused Redis answered", name)
		}
		if took := time.Since(started); took > 2*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func TestAwait(t *testing.T) {
	t.Parallel()
	server := databasetest.StartRedis(t)
	server.Stop(t)
	var log bytes.Buffer
	client, err := pubsub.Open(server.URL(), "shop", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	impatient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := client.Await(impatient); err == nil {
		t.Error("it found a Redis where none is")
	}
	if !strings.Contains(log.String(), `level=WARN msg="waiting for Redis"`) {
		t.Errorf("it waited without a word: %s", log.String())
	}
	server.Start(t)
	if err := client.Await(t.Context()); err != nil {
		t.Error(err)
	}
}

func open(t *testing.T, url, shop string) *pubsub.Client {
	t.Helper()
	client, err := pubsub.Open(url, shop, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func publish(t *testing.T, client *pubsub.Client, channel string, payloads ...string) {
	t.Helper()
	var messages []pubsub.Message
	for _, payload := range payloads {
		messages = append(messages, pubsub.Message{Channel: channel, Payload: []byte(payload)})
	}
	if err := client.Publish(t.Context(), messages...); err != nil {
		t.Fatal(err)
	}
}

type listening struct {
	subscribed chan struct{}
	received   chan string
}

// listen returns once the subscription is in place, and ends it with the test.
func listen(t *testing.T, client *pubsub.Client, channels ...string) *listening {
	t.Helper()
	l := &listening{subscribed: make(chan struct{}, 16), received: make(chan string, 16)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		err := client.Listen(ctx, channels, pubsub.Listener{
			Subscribed: func() { l.subscribed <- struct{}{} },
			Received:   func(payload string) { l.received <- payload },
		})
		if err != nil {
			t.Errorf("listen: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	l.expectSubscribed(t)
	return l
}

func (l *listening) expectSubscribed(t *testing.T) {
	t.Helper()
	select {
	case <-l.subscribed:
	case <-time.After(patience):
		t.Fatal("no subscription")
	}
}

func (l *listening) expect(t *testing.T, payloads ...string) {
	t.Helper()
	for _, want := range payloads {
		select {
		case got := <-l.received:
			if got != want {
				t.Fatalf("received %q, want %q", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("%q did not arrive", want)
		}
	}
}

func (l *listening) expectNothing(t *testing.T) {
	t.Helper()
	select {
	case got := <-l.received:
		t.Errorf("received %q", got)
	case <-time.After(100 * time.Millisecond):
	}
}
