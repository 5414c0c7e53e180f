package httpapi

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// Headers that browsers heed. An answer of the API is data: never a page, a frame or a script of another
// site, and never kept by a cache that was not told it may. A handler that serves something else says so.
// Their names are spelled the way that fasthttp does, which need not be done again then.
var protections = [...][2][]byte{
	{[]byte(fiber.HeaderCacheControl), []byte("no-store")},
	{[]byte(fiber.HeaderContentSecurityPolicy), []byte("default-src 'none'; frame-ancestors 'none'")},
	{[]byte("Cross-Origin-Resource-Policy"), []byte("same-origin")},
	{[]byte(fiber.HeaderReferrerPolicy), []byte("no-referrer")},
	{[]byte(fiber.HeaderXContentTypeOptions), []byte("nosniff")},
	{[]byte(fiber.HeaderXFrameOptions), []byte("DENY")},
}

func protect(c *fiber.Ctx) error {
	setProtections(c)
	return c.Next()
}

func setProtections(c *fiber.Ctx) {
	for _, header := range protections {
		c.Response().Header.SetCanonical(header[0], header[1])
	}
}

// What scripts of other origins may send and see.
const (
	crossOriginMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	crossOriginSent    = "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Request-ID"
	crossOriginSeen    = "Allow, ETag, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
	preflightLifetime  = "600" // seconds; what browsers keep of a longer one differs
)

// crossOrigin lets scripts of the given origins use the API; "*" is every origin. Credentials of the browser
// play no part: a token is a header that the script sets itself.
func crossOrigin(origins []string) fiber.Handler {
	all := slices.Contains(origins, "*")
	return func(c *fiber.Ctx) error {
		if len(origins) == 0 {
			return c.Next()
		}
		if !all {
			c.Vary(fiber.HeaderOrigin)
		}
		origin := c.Get(fiber.HeaderOrigin)
		if origin == "" || !all && !slices.ContainsFunc(origins, func(one string) bool { return strings.EqualFold(one, origin) }) {
			return c.Next()
		}
		if all {
			origin = "*"
		}
		c.Set(fiber.HeaderAccessControlAllowOrigin, origin)
		if c.Method() == http.MethodOptions && c.Get(fiber.HeaderAccessControlRequestMethod) != "" {
			c.Set(fiber.HeaderAccessControlAllowMethods, crossOriginMethods)
			c.Set(fiber.HeaderAccessControlAllowHeaders, crossOriginSent)
			c.Set(fiber.HeaderAccessControlMaxAge, preflightLifetime)
			return c.SendStatus(http.StatusNoContent)
		}
		c.Set(fiber.HeaderAccessControlExposeHeaders, crossOriginSeen)
		return c.Next()
	}
}

// allow answers OPTIONS with the methods of the path, which Fiber finds while it refuses the request.
func allow(c *fiber.Ctx) error {
	err := c.Next()
	var refused *fiber.Error
	if c.Method() == http.MethodOptions && errors.As(err, &refused) && refused.Code == http.StatusMethodNotAllowed {
		c.Append(fiber.HeaderAllow, http.MethodOptions)
		return c.SendStatus(http.StatusNoContent)
	}
	return err
}
