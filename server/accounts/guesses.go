package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

const (
	freeGuesses = 5               // wrong passwords that cost no wait: people mistype
	firstWait   = time.Second     // after the next one; each further one doubles it
	longestWait = 5 * time.Minute // which leaves a guesser 288 passwords a day
	forgetAfter = time.Hour       // without a wrong password
	guessPause  = 5 * time.Second // after Redis did not answer, before it is asked again
)

// guesses slows down whoever tries passwords. What is counted, in Redis for all pods, is one account from one
// address: so nobody can keep a user out who is somewhere else, and the wait never grows while it lasts. Whoever
// shares an address with a guesser can still reset the password. An account that does not exist is
// slowed down like one that does. Without Redis nobody is.
type guesses struct {
	redis *pubsub.Client
	log   *slog.Logger
	quiet atomic.Int64 // no question to Redis before this moment, in Unix nanoseconds
}

// The clock is that of Redis, for those of the pods differ. A key is forgotten by its time too, not by its
// expiry alone, which the embedded Redis does not bring about.
const guessState = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', KEYS[1], 'wrong', 'until')
local wrong, free = tonumber(kept[1] or 0), tonumber(kept[2] or 0)
local forget = tonumber(ARGV[1])
if now > free + forget then wrong = 0 end
`

var (
	// askWait answers how long to wait, in milliseconds, and how many passwords were wrong.
	askWait = pubsub.NewScript(guessState + `return {math.max(free - now, 0), wrong}`)

	// noteWrong counts a wrong password.
	noteWrong = pubsub.NewScript(guessState + `
local grace, first, longest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
wrong = wrong + 1
local wait = 0
if wrong > grace then wait = math.min(first * 2 ^ math.min(wrong - grace - 1, 30), longest) end
redis.call('HSET', KEYS[1], 'wrong', wrong, 'until', string.format('%.0f', math.max(free, now + wait)))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', wait + forget))
return {wait, wrong}`)

	noteRight = pubsub.NewScript(`return {redis.call('DEL', KEYS[1])}`)
)

// guessKey is what guesses are counted by. Redis learns neither the account nor the address.
func guessKey(emailKey, address string) string {
	sum := sha256.Sum256([]byte(emailKey + "\x00" + address))
	return "guesses:" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// allow is the 429 of a guess that comes too soon, or nil.
func (g *guesses) allow(ctx context.Context, key string) error {
	answer := g.ask(ctx, askWait, key, forgetAfter.Milliseconds())
	if len(answer) == 0 || answer[0] == 0 {
		return nil
	}
	throttled := httpapi.Throttled(time.Duration(answer[0]) * time.Millisecond)
	wait := throttled.Header[fiber.HeaderRetryAfter]
	throttled.Header["RateLimit-Policy"] = `"guesses";q=1;w=` + wait
	throttled.Header["RateLimit"] = `"guesses";r=0;t=` + wait
	return throttled
}

// wrong counts a wrong password.
func (g *guesses) wrong(ctx context.Context, key string) {
	g.ask(ctx, noteWrong, key, forgetAfter.Milliseconds(), freeGuesses, firstWait.Milliseconds(), longestWait.Milliseconds())
}

// right forgets the wrong passwords before.
func (g *guesses) right(ctx context.Context, key string) { g.ask(ctx, noteRight, key) }

// ask runs a script, for a second at most, unless Redis did not answer just now.
func (g *guesses) ask(ctx context.Context, script *pubsub.Script, key string, arguments ...any) []int64 {
	if time.Now().UnixNano() < g.quiet.Load() {
		return nil
	}
	answer, err := g.redis.Run(ctx, script, key, arguments...)
	if err != nil && ctx.Err() == nil {
		g.quiet.Store(time.Now().Add(guessPause).UnixNano())
		g.log.WarnContext(ctx, "guesses at passwords are not slowed down while Redis does not answer", "error", err)
	}
	return answer
}
