package httpapi

import (
	"context"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
)

const (
	callerLifetime = time.Second
	mostCallers    = 10_000
)

// Callers remembers for a moment whom access tokens stand for. Who is made inactive or loses a right elsewhere
// is refused a second later; what this process does itself it takes note of at once, by [Callers.Forgetting].
type Callers struct {
	authenticate Authenticator

	mutex     sync.RWMutex
	known     map[string]knownCaller
	forgotten int // how often
}

type knownCaller struct {
	Caller

	until time.Time
}

// RememberCallers makes authenticate cheap.
func RememberCallers(authenticate Authenticator) *Callers {
	return &Callers{authenticate: authenticate, known: map[string]knownCaller{}}
}

// Authenticate is an [Authenticator].
func (k *Callers) Authenticate(ctx context.Context, token string) (Caller, error) {
	now := time.Now()
	k.mutex.RLock()
	known, forgotten := k.known[token], k.forgotten
	k.mutex.RUnlock()
	if now.Before(known.until) {
		return known.Caller, nil
	}
	caller, err := k.authenticate(ctx, token)
	if err == nil {
		k.remember(token, caller, now, forgotten)
	}
	return caller, err
}

// remember keeps a caller as of a moment, unless all were forgotten since.
func (k *Callers) remember(token string, caller Caller, now time.Time, forgotten int) {
	until := now.Add(callerLifetime)
	if !caller.Expires.IsZero() && caller.Expires.Before(until) {
		until = caller.Expires
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.forgotten != forgotten {
		return
	}
	if len(k.known) >= mostCallers {
		clear(k.known)
	}
	k.known[token] = knownCaller{caller, until}
}

// Forgetting stands before handlers that may change whom a token stands for.
func (k *Callers) Forgetting(c *fiber.Ctx) error {
	err := c.Next()
	k.mutex.Lock()
	defer k.mutex.Unlock()
	clear(k.known)
	k.forgotten++
	return err
}
