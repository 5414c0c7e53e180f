package ratelimit

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// Guard applies limits to requests.
type Guard struct {
	limiter *Limiter
	limits  Limits
	proxies httpapi.Proxies
}

// NewGuard makes a guard that believes the given proxies about where a request comes from.
func NewGuard(limiter *Limiter, limits Limits, proxies httpapi.Proxies) *Guard {
	return &Guard{limiter: limiter, limits: limits, proxies: proxies}
}

// Login bounds attempts to log in, by address.
func (g *Guard) Login(c *fiber.Ctx) error { return g.before(c, g.limits.Login, g.proxies.Network(c)) }

// Register bounds registrations, by address.
func (g *Guard) Register(c *fiber.Ctx) error {
	return g.before(c, g.limits.Register, g.proxies.Network(c))
}

// Reset bounds requests to reset a password, by address.
func (g *Guard) Reset(c *fiber.Ctx) error { return g.before(c, g.limits.Reset, g.proxies.Network(c)) }

// Anonymous bounds what needs no token, by address.
func (g *Guard) Anonymous(c *fiber.Ctx) error {
	return g.before(c, g.limits.Anonymous, g.proxies.Network(c))
}

// User bounds what one user asks; it stands behind the check of the token.
func (g *Guard) User(c *fiber.Ctx) error {
	return g.before(c, g.limits.User, strconv.FormatInt(httpapi.CallerOf(c).UserID, 10))
}

// Refused stands before the check of the token and bounds the requests that it refuses, by address.
func (g *Guard) Refused(c *fiber.Ctx) error {
	err := c.Next()
	var refused *httpapi.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		return err
	}
	if throttled := g.count(c, g.limits.Anonymous, g.proxies.Network(c)); throttled != nil {
		return throttled
	}
	return err
}

func (g *Guard) before(c *fiber.Ctx, limit Limit, key string) error {
	if throttled := g.count(c, limit, key); throttled != nil {
		return throttled
	}
	return c.Next()
}

var policyHeader, stateHeader = []byte("Ratelimit-Policy"), []byte("Ratelimit")

// fields appends a value such as "user";q=600;w=60.
func fields(value []byte, name, first string, one int64, second string, two int64) []byte {
	value = append(strconv.AppendQuote(value, name), first...)
	value = append(strconv.AppendInt(value, one, 10), second...)
	return strconv.AppendInt(value, two, 10)
}

// count uses a limit once, tells the client how it stands, and returns the 429 of one that is used up. The
// headers are those of draft-ietf-httpapi-ratelimit-headers.
func (g *Guard) count(c *fiber.Ctx, limit Limit, key string) error {
	decision := g.limiter.Take(c.UserContext(), limit, key)
	if decision.Known {
		var buffer [64]byte
		header := &c.Response().Header
		header.SetCanonical(policyHeader, fields(buffer[:0], limit.Name, ";q=", limit.Count, ";w=", seconds(limit.Per)))
		header.SetCanonical(stateHeader, fields(buffer[:0], limit.Name, ";r=", decision.Remaining, ";t=", seconds(decision.Reset)))
	}
	if decision.Allowed {
		return nil
	}
	return httpapi.Throttled(decision.Wait)
}
