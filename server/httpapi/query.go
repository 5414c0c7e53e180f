package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

const longestQueryValue = 1000

// Query reads the query parameters of a request. A parameter that is absent or empty is not set; what does
// not parse is noted, and Err reports all of it at once.
type Query struct {
	c     *fiber.Ctx
	wrong map[string][]string
}

// ReadQuery starts to read a request's query.
func ReadQuery(c *fiber.Ctx) *Query { return &Query{c: c, wrong: map[string][]string{}} }

// Err is the 400 that names all that is wrong, or nil.
func (q *Query) Err() error {
	if len(q.wrong) == 0 {
		return nil
	}
	return &Error{Status: http.StatusBadRequest, Fields: q.wrong}
}

func (q *Query) reject(name, message string) { q.wrong[name] = append(q.wrong[name], message) }

// Text returns a copy of a parameter, without surrounding white space, at most 1,000 characters.
func (q *Query) Text(name string) (string, bool) {
	text := strings.TrimSpace(strings.Clone(q.c.Query(name)))
	switch {
	case text == "":
		return "", false
	case !utf8.ValidString(text):
		q.reject(name, NotUTF8)
		return "", false
	case strings.ContainsRune(text, 0):
		q.reject(name, NoNull)
		return "", false
	case utf8.RuneCountInString(text) > longestQueryValue:
		q.reject(name, "Ensure this value has no more than 1000 characters.")
		return "", false
	}
	return text, true
}

// Integer returns a whole number.
func (q *Query) Integer(name string) (int64, bool) {
	return parameter(q, name, NotInteger, func(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) })
}

// Money returns an amount.
func (q *Query) Money(name string) (money.Amount, bool) {
	return parameter(q, name, NotNumber, money.Parse)
}

// Boolean returns true or false.
func (q *Query) Boolean(name string) (value, ok bool) {
	return parameter(q, name, NotBoolean, parseBoolean)
}

// Time returns a moment written as RFC 3339, or as a date, which means its first moment in UTC.
func (q *Query) Time(name string) (time.Time, bool) {
	return parameter(q, name, "Enter a valid date/time.", func(text string) (time.Time, error) {
		if date, err := time.Parse(time.DateOnly, text); err == nil {
			return date, nil
		}
		// An unescaped + in a query is a space.
		return time.Parse(time.RFC3339, strings.Replace(text, " ", "+", 1))
	})
}

// Choice returns one of the given texts.
func (q *Query) Choice(name string, choices ...string) (string, bool) {
	message := "Select a valid choice. That choice is not one of the available choices."
	return parameter(q, name, message, func(text string) (string, error) {
		for _, choice := range choices {
			if text == choice {
				return choice, nil
			}
		}
		return "", errors.New("not a choice")
	})
}

func parameter[T any](q *Query, name, message string, parse func(string) (T, error)) (value T, ok bool) {
	text, ok := q.Text(name)
	if !ok {
		return value, false
	}
	value, err := parse(text)
	if err != nil {
		q.reject(name, message)
		return value, false
	}
	return value, true
}

// PathID returns the positive id in a path parameter, or the 404 of a path that names nothing.
func PathID(c *fiber.Ctx, name string) (int64, error) {
	id, err := strconv.ParseInt(c.Params(name), 10, 64)
	if err != nil || id < 1 {
		return 0, NotFound()
	}
	return id, nil
}
