// Package ratelimit bounds how often each client asks, counted over all pods of a shop. The count is a GCRA
// (generic cell rate algorithm) in Redis: one time per client, the one at which all that it used will have
// been earned again. A pod takes a small lease of uses at once and hands them out by itself, so that most
// requests do not wait for Redis. Several pods together let through what the limit says and, at worst, what
// each still held of one earlier lease.
//
// When Redis does not answer, every request is let through: a shop that sells without limits is better than
// one that does not sell.
package ratelimit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

const (
	deadline = 50 * time.Millisecond // for Redis to answer: a request waits no longer for its count
	pause    = time.Second           // after Redis did not, before it is asked again
	mostKept = 50_000                // clients that a pod remembers; about 10 MB
)

// take takes at most ARGV[3] uses of a window of ARGV[2] microseconds in which one is earned every ARGV[1].
// It answers how many it took and how long, in microseconds, until all that was used is earned again.
// The clock is that of Redis, for those of the pods differ.
var take = pubsub.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, window, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local debt = math.max(tonumber(redis.call('GET', KEYS[1]) or now) - now, 0)
local taken = math.max(math.min(wanted, math.floor((window - debt) / interval)), 0)
if taken > 0 then
	debt = debt + taken * interval
	redis.call('SET', KEYS[1], string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
end
return {taken, debt}
`)

// Decision is what a limit says to one request.
type Decision struct {
	Allowed   bool
	Known     bool          // false when nothing was counted: no limit, or no Redis
	Remaining int64         // uses left at this moment
	Reset     time.Duration // until all uses are there again
	Wait      time.Duration // until the next use, when this one is not allowed
}

// Limiter counts for one pod. It is safe for concurrent use.
type Limiter struct {
	redis    *pubsub.Client
	log      *slog.Logger
	deadline time.Duration
	refusals *prometheus.CounterVec

	mutex   sync.Mutex
	clients map[string]*client

	outage struct {
		sync.Mutex

		until time.Time // not asked again before; zero while Redis answers
	}
}

// New makes a limiter that counts in redis.
func New(redis *pubsub.Client, log *slog.Logger) *Limiter {
	return &Limiter{redis: redis, log: log, deadline: deadline, refusals: newRefusals(), clients: map[string]*client{}}
}

// client is what a pod knows of one client and limit.
type client struct {
	mutex  sync.Mutex // also held while Redis is asked, so that one lease is taken at a time
	held   int64      // uses leased and not handed out
	earned time.Time  // when all that was taken from Redis is earned again
	forget time.Time  // when nothing of this matters any more; guarded by the limiter's mutex
}

// Take uses a limit once on behalf of a client.
func (l *Limiter) Take(ctx context.Context, limit Limit, key string) Decision {
	if limit.Count == 0 {
		return Decision{Allowed: true}
	}
	key = limit.Name + ":" + key
	one := l.client(key, limit)
	one.mutex.Lock()
	defer one.mutex.Unlock()
	now := time.Now()
	if one.held == 0 && one.wait(limit, now) <= 0 && !l.lease(ctx, one, limit, key) {
		return Decision{Allowed: true}
	}
	now = time.Now()
	decision := Decision{Known: true, Reset: max(one.earned.Sub(now), 0)}
	if one.held == 0 {
		decision.Wait = max(one.wait(limit, now), time.Millisecond)
		l.refusals.WithLabelValues(limit.Name).Inc()
		return decision
	}
	one.held--
	decision.Allowed = true
	decision.Remaining = one.held + one.left(limit, now)
	return decision
}

// wait is how long it takes until Redis has a use to give; none are there now while it is above 0.
func (c *client) wait(limit Limit, now time.Time) time.Duration {
	debt := max(c.earned.Sub(now), 0)
	return debt - micro(limit.window()-limit.interval())
}

// left is how many uses Redis has to give, as far as this pod knows.
func (c *client) left(limit Limit, now time.Time) int64 {
	debt := max(c.earned.Sub(now), 0).Microseconds()
	return max((limit.window()-debt)/limit.interval(), 0)
}

func micro(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// client returns what the pod remembers of a client, if need be at first nothing.
func (l *Limiter) client(key string, limit Limit) *client {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	now := time.Now()
	one, known := l.clients[key]
	if !known || now.After(one.forget) {
		if len(l.clients) >= mostKept {
			l.tidy(now)
		}
		one = &client{}
		l.clients[key] = one
	}
	one.forget = now.Add(limit.Per)
	return one
}

// tidy forgets the clients that do not matter any more, and all if that are too few: what they leased is then
// lost to them, which is little.
func (l *Limiter) tidy(now time.Time) {
	for key, one := range l.clients {
		if now.After(one.forget) {
			delete(l.clients, key)
		}
	}
	if len(l.clients) > mostKept/2 {
		clear(l.clients)
	}
}

// lease takes uses from Redis, none if there are none; ok is false if Redis does not say.
func (l *Limiter) lease(ctx context.Context, one *client, limit Limit, key string) (ok bool) {
	if !l.mayAsk() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, l.deadline)
	defer cancel()
	answer, err := l.redis.Run(ctx, take, "limit:"+key, limit.interval(), limit.window(), limit.lease())
	l.note(err)
	if err != nil || len(answer) != 2 {
		return false
	}
	one.held, one.earned = answer[0], time.Now().Add(micro(answer[1]))
	return true
}

func (l *Limiter) mayAsk() bool {
	l.outage.Lock()
	defer l.outage.Unlock()
	now := time.Now()
	if now.Before(l.outage.until) {
		return false
	}
	if !l.outage.until.IsZero() {
		l.outage.until = now.Add(pause) // one request finds out for all
	}
	return true
}

// note logs when counting ends and when it begins again.
func (l *Limiter) note(err error) {
	l.outage.Lock()
	defer l.outage.Unlock()
	down := !l.outage.until.IsZero()
	switch {
	case err != nil:
		l.outage.until = time.Now().Add(pause)
		if !down {
			l.log.Warn("rate limits do not count while Redis does not answer", "error", err)
		}
	case down:
		l.outage.until = time.Time{}
		l.log.Info("rate limits count again")
	}
}
