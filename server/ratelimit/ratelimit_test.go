package ratelimit_test

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

// lease is what a pod takes at once.
func lease(limit ratelimit.Limit) int64 { return min(max(limit.Count/50, 1), 100) }

func open(t testing.TB, url string) *pubsub.Client {
	t.Helper()
	client, err := pubsub.Open(url, "shop", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// pods are limiters of several pods that share a Redis.
func pods(t testing.TB, url string, count int) []*ratelimit.Limiter {
	t.Helper()
	limiters := make([]*ratelimit.Limiter, count)
	for i := range limiters {
		limiters[i] = ratelimit.New(open(t, url), slog.New(slog.DiscardHandler)).Patient()
	}
	return limiters
}

func TestALimitGivesWhatItSaysAndNoMore(t *testing.T) {
	for name, url := range map[string]string{"redis": databasetest.Redis(t), "embedded": pubsub.Embedded} {
		t.Run(name, func(t *testing.T) {
			limiter := pods(t, url, 1)[0]
			limit := ratelimit.Limit{Name: "login", Count: 7, Per: time.Hour}
			for used := range limit.Count {
				got := limiter.Take(t.Context(), limit, "a")
				if !got.Allowed || !got.Known || got.Remaining != limit.Count-used-1 {
					t.Fatalf("use %d got %+v", used+1, got)
				}
			}
			got := limiter.Take(t.Context(), limit, "a")
			if got.Allowed || got.Remaining != 0 || got.Wait < time.Minute || got.Wait > time.Hour/7 || got.Reset > time.Hour {
				t.Errorf("one too many got %+v", got)
			}
			if got := limiter.Take(t.Context(), limit, "b"); !got.Allowed {
				t.Errorf("another client got %+v", got)
			}
			other := limit
			other.Name = "reset"
			if got := limiter.Take(t.Context(), other, "a"); !got.Allowed {
				t.Errorf("another limit gave %+v", got)
			}
		})
	}
}

func TestUsesAreEarnedAgain(t *testing.T) {
	limiter := pods(t, databasetest.Redis(t), 1)[0]
	limit := ratelimit.Limit{Name: "user", Count: 4, Per: time.Second}
	for range limit.Count {
		if got := limiter.Take(t.Context(), limit, "a"); !got.Allowed {
			t.Fatalf("got %+v", got)
		}
	}
	refused := limiter.Take(t.Context(), limit, "a")
	if refused.Allowed || refused.Wait > 300*time.Millisecond {
		t.Fatalf("got %+v", refused)
	}
	time.Sleep(refused.Wait + 10*time.Millisecond)
	if got := limiter.Take(t.Context(), limit, "a"); !got.Allowed {
		t.Errorf("after the wait it got %+v", got)
	}
}

// Whatever the limit and however requests fall on two pods, no more pass than the limit, what is earned while
// they do, and a lease of each pod; and no fewer than the limit without what the other pod may hold.
func TestTwoPodsCountTogether(t *testing.T) {
	url := databasetest.Redis(t)
	limiters := pods(t, url, 2)
	var round atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		limit := ratelimit.Limit{Name: "user", Count: rapid.Int64Range(1, 700).Draw(t, "count"), Per: time.Hour}
		share := rapid.IntRange(0, 10).Draw(t, "tenths of the first pod")
		key := time.Now().String() + strconv.FormatInt(round.Add(1), 10)
		var passed int64
		for request := range 2*limit.Count + 10 {
			pod := limiters[0]
			if int(request%10) >= share {
				pod = limiters[1]
			}
			if pod.Take(context.Background(), limit, key).Allowed {
				passed++
			}
		}
		if passed > limit.Count+2*lease(limit) || passed < limit.Count-lease(limit) {
			t.Errorf("%d passed a limit of %d, leases of %d", passed, limit.Count, lease(limit))
		}
	})
}

func TestManyRequestsAtOnce(t *testing.T) {
	limiters := pods(t, databasetest.Redis(t), 2)
	limit := ratelimit.Limit{Name: "user", Count: 500, Per: time.Hour}
	var passed atomic.Int64
	var clients sync.WaitGroup
	for i := range 32 {
		clients.Go(func() {
			for range 50 {
				if limiters[i%2].Take(t.Context(), limit, "a").Allowed {
					passed.Add(1)
				}
			}
		})
	}
	clients.Wait()
	if got := passed.Load(); got < 490 || got > 520 {
		t.Errorf("%d passed a limit of 500 with leases of 10", got)
	}
}

func TestWithoutRedisEveryRequestPassesSoonAndTheLogSaysSoOnce(t *testing.T) {
	redis := databasetest.StartRedis(t)
	limit := ratelimit.Limit{Name: "login", Count: 1, Per: time.Hour}
	for name, outage := range map[string]struct{ begin, end func(testing.TB) }{
		"stopped": {redis.Stop, redis.Start},
		"hanging": {redis.Pause, redis.Resume},
	} {
		var log bytes.Buffer
		limiter := ratelimit.New(open(t, redis.URL()), slog.New(slog.NewTextHandler(&log, nil)))
		outage.begin(t)
		for range 100 {
			started := time.Now()
			got := limiter.Take(t.Context(), limit, name)
			if took := time.Since(started); !got.Allowed || got.Known || took > 500*time.Millisecond {
				t.Errorf("%s: got %+v after %v", name, got, took)
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "rate limits do not count") {
			t.Errorf("%s: the log says:\n%s", name, log.String())
		}
		outage.end(t)
		limiter.Patient()
		for patience := time.Now().Add(15 * time.Second); !limiter.Take(t.Context(), limit, name).Known; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(patience) {
				t.Fatalf("%s: it does not count again", name)
			}
		}
		if got := limiter.Take(t.Context(), limit, name); got.Allowed {
			t.Errorf("%s: it let a second one through: %+v", name, got)
		}
		if !strings.Contains(log.String(), "rate limits count again") {
			t.Errorf("%s: the log says:\n%s", name, log.String())
		}
	}
}

func BenchmarkTake(b *testing.B) {
	limiter := pods(b, databasetest.Redis(b), 1)[0]
	limit := ratelimit.Limit{Name: "user", Count: 10_000_000, Per: time.Minute}
	for b.Loop() {
		limiter.Take(b.Context(), limit, "a")
	}
}
