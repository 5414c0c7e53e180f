package httpapi

import (
	"context"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
)

// Caller is the user on whose behalf a request runs.
type Caller struct {
	UserID  int64
	Staff   bool
	Login   string    // the login that the token descends from
	Expires time.Time // when the token ends; zero when that is not known
}

// Authenticator returns the caller that an access token stands for. A token that is not valid is
// [BadToken].
type Authenticator func(ctx context.Context, token string) (Caller, error)

type callerKey struct{}

// Authenticated lets only requests with a valid token through and sets their caller.
func Authenticated(authenticate Authenticator) fiber.Handler {
	return func(c *fiber.Ctx) error {
		token, ok := BearerToken(c)
		if !ok {
			return NoCredentials()
		}
		caller, err := authenticate(c.UserContext(), token)
		if err != nil {
			return err
		}
		c.Locals(callerKey{}, caller)
		return c.Next()
	}
}

// StaffOnly lets only staff through; it stands behind [Authenticated].
func StaffOnly(c *fiber.Ctx) error {
	if !CallerOf(c).Staff {
		return Forbidden()
	}
	return c.Next()
}

// CallerOf returns the caller of an authenticated request, or the zero Caller of an anonymous one.
func CallerOf(c *fiber.Ctx) Caller {
	caller, _ := c.Locals(callerKey{}).(Caller)
	return caller
}

// BearerToken returns a copy of the token in the Authorization header.
func BearerToken(c *fiber.Ctx) (string, bool) {
	scheme, token, found := strings.Cut(c.Get(fiber.HeaderAuthorization), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.Clone(strings.TrimSpace(token)), true
}
