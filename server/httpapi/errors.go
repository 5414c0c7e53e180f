// Package httpapi is the HTTP dialect that every feature speaks: typed errors and the one place that turns
// them into answers, bodies and queries read with all failing fields reported at once, pages, callers,
// request ids. Its texts are Django REST Framework's, which clients of the API know. It knows no feature.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// Error is an answer other than success. Its zero Fields make the body {"error": Message}.
type Error struct {
	Status  int
	Message string
	Fields  map[string][]string // for a validation error, the whole body
	Header  map[string]string   // besides the usual ones
}

func (e *Error) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return http.StatusText(e.Status)
}

// BadRequest is a 400 that concerns no single field.
func BadRequest(message string) *Error {
	return &Error{Status: http.StatusBadRequest, Message: message}
}

// Invalid is a 400 about one field.
func Invalid(field string, messages ...string) *Error {
	return &Error{Status: http.StatusBadRequest, Fields: map[string][]string{field: messages}}
}

// Unauthorized is a 401 with the challenge that goes with it.
func Unauthorized(message string) *Error {
	return &Error{
		Status: http.StatusUnauthorized, Message: message,
		Header: map[string]string{fiber.HeaderWWWAuthenticate: `Bearer realm="api"`},
	}
}

// NoCredentials is the 401 of a request that bears no token.
func NoCredentials() *Error { return Unauthorized("Authentication credentials were not provided.") }

// BadToken is the 401 of a token that is forged, expired, revoked or of the wrong kind.
func BadToken() *Error { return Unauthorized("Given token not valid for any token type") }

// Forbidden is a 403.
func Forbidden() *Error {
	return &Error{Status: http.StatusForbidden, Message: "You do not have permission to perform this action."}
}

// NotFound is a 404.
func NotFound() *Error { return &Error{Status: http.StatusNotFound, Message: "Not found."} }

// Throttled is the 429 of a client that may come again after a wait.
func Throttled(wait time.Duration) *Error {
	seconds := max(int64(math.Ceil(wait.Seconds())), 1)
	return &Error{
		Status:  http.StatusTooManyRequests,
		Message: fmt.Sprintf("Request was throttled. Expected available in %d seconds.", seconds),
		Header:  map[string]string{fiber.HeaderRetryAfter: strconv.FormatInt(seconds, 10)},
	}
}

// Unavailable is a 503: a dependency is away, the request had no effect and may be tried again.
func Unavailable() *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, Message: "Service temporarily unavailable, try again later.",
		Header: map[string]string{fiber.HeaderRetryAfter: "2"},
	}
}

// ErrorHandler answers every error of every handler. What a client could not cause is logged, with the
// request's id, and shown as a bare 500.
func ErrorHandler(log *slog.Logger) fiber.ErrorHandler {
	return func(c *fiber.Ctx, err error) error {
		answer := answerFor(c, err)
		if answer.Status == http.StatusRequestHeaderFieldsTooLarge {
			linger(c.Context().Conn(), c.Context().Conn())
		}
		if RequestID(c) == "" { // what cannot be read as a request comes here first
			setRequestID(c)
		}
		setProtections(c)
		if answer.Status >= http.StatusInternalServerError {
			log.ErrorContext(c.UserContext(), "request failed", "method", c.Method(), "route", c.Route().Path, "status", answer.Status, "error", err)
		}
		for name, value := range answer.Header {
			c.Set(name, value)
		}
		c.Status(answer.Status)
		if answer.Fields != nil {
			return c.JSON(answer.Fields)
		}
		return c.JSON(map[string]string{"error": answer.Error()})
	}
}

func answerFor(c *fiber.Ctx, err error) *Error {
	var known *Error
	var fromFiber *fiber.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &fromFiber):
		return &Error{Status: fromFiber.Code, Message: fiberMessage(c, fromFiber)}
	case database.IsUnavailable(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Unavailable()
	default:
		return &Error{Status: http.StatusInternalServerError, Message: "Internal server error."}
	}
}

func fiberMessage(c *fiber.Ctx, err *fiber.Error) string {
	switch err.Code {
	case http.StatusNotFound:
		return "Not found."
	case http.StatusMethodNotAllowed:
		return fmt.Sprintf("Method %q not allowed.", methodOf(c))
	case http.StatusRequestEntityTooLarge:
		return "Request body too large."
	case http.StatusRequestHeaderFieldsTooLarge:
		return "Request headers too large."
	case http.StatusRequestTimeout:
		return "Request timed out."
	default:
		return http.StatusText(err.Code)
	}
}
