package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
)

const missing = `{"error":"Not found."}`

func httpGet(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "localhost:8000"
	return r
}

// request sends a request to an application whose only handler, at /things/ and /things/{id}/, is given.
func request(t testing.TB, options httpapi.Options, handler fiber.Handler, r *http.Request) httpapitest.Answer {
	t.Helper()
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	app := httpapi.New(options)
	app.All("/things/", handler)
	app.Get("/things/:id/", handler)
	response, err := app.Test(r, int(time.Minute.Milliseconds()))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return httpapitest.Answer{Status: response.StatusCode, Header: response.Header, Body: string(body)}
}

func fails(err error) fiber.Handler { return func(*fiber.Ctx) error { return err } }

func TestErrors(t *testing.T) {
	const internal, away = `{"error":"Internal server error."}`, `{"error":"Service temporarily unavailable, try again later."}`
	for _, row := range []struct {
		name   string
		err    error
		status int
		body   string
		header [2]string
	}{
		{"bad request", httpapi.BadRequest("Cart is empty"), 400, `{"error":"Cart is empty"}`, [2]string{}},
		{"invalid", httpapi.Invalid("name", "One.", "Two & <three>."), 400, `{"name":["One.","Two & <three>."]}`, [2]string{}},
		{"wrapped", fmt.Errorf("while testing: %w", httpapi.NotFound()), 404, missing, [2]string{}},
		{"no credentials", httpapi.NoCredentials(), 401, `{"error":"Authentication credentials were not provided."}`, [2]string{"WWW-Authenticate", `Bearer realm="api"`}},
		{"bad token", httpapi.BadToken(), 401, `{"error":"Given token not valid for any token type"}`, [2]string{"WWW-Authenticate", `Bearer realm="api"`}},
		{"forbidden", httpapi.Forbidden(), 403, `{"error":"You do not have permission to perform this action."}`, [2]string{}},
		{"unavailable", httpapi.Unavailable(), 503, away, [2]string{"Retry-After", "2"}},
		{"database away", fmt.Errorf("read: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), 503, away, [2]string{"Retry-After", "2"}},
		{"database stopping", &pgconn.PgError{Code: "57P01"}, 503, away, [2]string{"Retry-After", "2"}},
		{"out of time", fmt.Errorf("read: %w", context.DeadlineExceeded), 503, away, [2]string{"Retry-After", "2"}},
		{"a wrong statement", &pgconn.PgError{Code: "42601", Message: "syntax error in SELECT secret"}, 500, internal, [2]string{}},
		{"a bug", errors.New("index out of range in *secret.Type"), 500, internal, [2]string{}},
		{"fiber's own", fiber.NewError(http.StatusRequestTimeout, "x"), 408, `{"error":"Request timed out."}`, [2]string{}},
		{"an unusual one", &httpapi.Error{Status: http.StatusConflict}, 409, `{"error":"Conflict"}`, [2]string{}},
	} {
		got := request(t, httpapi.Options{}, fails(row.err), httpGet("/things/"))
		if got.Status != row.status || got.Body != row.body || row.header[0] != "" && got.Header.Get(row.header[0]) != row.header[1] {
			t.Errorf("%s: got %d %s %v, want %d %s %v", row.name, got.Status, got.Body, got.Header, row.status, row.body, row.header)
		}
		if kind := got.Header.Get("Content-Type"); kind != "application/json" {
			t.Errorf("%s: the answer is %q", row.name, kind)
		}
	}
}

func TestWhatFiberAnswersItself(t *testing.T) {
	panics := func(*fiber.Ctx) error { panic("secret") }
	for _, row := range []struct {
		request *http.Request
		handler fiber.Handler
		status  int
		body    string
	}{
		{httpGet("/nothing/"), panics, 404, missing},
		{httptest.NewRequest(http.MethodDelete, "/things/1/", nil), panics, 405, `{"error":"Method \"DELETE\" not allowed."}`},
		{httpGet("/things/"), panics, 500, `{"error":"Internal server error."}`},
	} {
		got := request(t, httpapi.Options{}, row.handler, row.request)
		if got.Status != row.status || got.Body != row.body {
			t.Errorf("%s %s: got %d %s, want %d %s", row.request.Method, row.request.URL.Path, got.Status, got.Body, row.status, row.body)
		}
		if row.status == http.StatusMethodNotAllowed && got.Header.Get("Allow") != "GET, HEAD" && got.Header.Get("Allow") != "GET" {
			t.Errorf("Allow is %q", got.Header.Get("Allow"))
		}
	}
}

func TestRequestsThatAreTooLarge(t *testing.T) {
	server := httpapitest.Serve(t, func(app *fiber.App) {
		app.Post("/things/", func(c *fiber.Ctx) error { return c.JSON(len(c.Body())) })
	})
	const most = 1 << 20
	server.Customer(1).Post("/things/", strings.Repeat("a", most)).Is(t, http.StatusOK, "1048576")
	server.Customer(1).Post("/things/", strings.Repeat("a", most+1)).Is(t, http.StatusRequestEntityTooLarge, `{"error":"Request body too large."}`)
	server.Customer(1).Get("/things/?"+strings.Repeat("a", 17<<10)).Is(t, http.StatusRequestHeaderFieldsTooLarge, `{"error":"Request headers too large."}`)
}

// A compressed body is not decoded: a small one may be a huge one.
func TestCompressedBodiesAreRefused(t *testing.T) {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write([]byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/things/", &packed)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	read := func(c *fiber.Ctx) error {
		_, err := httpapi.ReadFields(c)
		return err
	}
	request(t, httpapi.Options{}, read, r).Is(t, http.StatusUnsupportedMediaType, `{"error":"Unsupported content encoding \"gzip\" in request."}`)
}

func TestRequestIDs(t *testing.T) {
	var log bytes.Buffer
	options := httpapi.Options{Log: slog.New(httpapi.Correlated(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))}
	for sent, kept := range map[string]bool{
		"a-1.b_2:c/d+e=": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a b": false, `a"b`: false, "ü": false, "a\tb": false,
	} {
		log.Reset()
		r := httpGet("/things/")
		r.Header.Set("X-Request-ID", sent)
		got := request(t, options, fails(errors.New("a bug")), r).Header.Get("X-Request-ID")
		if (got == sent) != kept || len(got) < 16 && !kept {
			t.Errorf("the request id %q became %q", sent, got)
		}
		if lines := strings.Count(log.String(), fmt.Sprintf(`"request_id":%q`, got)); lines != 2 {
			t.Errorf("%d log lines bear the id %q, want the error's and the request's: %s", lines, got, &log)
		}
	}
}

// What a client could cause is not worth an error line, and no line tells what a query may hide.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	options := httpapi.Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	request(t, options, fails(httpapi.NotFound()), httpGet("/things/?token=secret"))
	if line := log.String(); strings.Contains(line, "secret") || strings.Contains(line, "level=ERROR") || !strings.Contains(line, "status=404") {
		t.Errorf("logged %s", line)
	}
}

// Links are on the host that the client used. A proxy is believed about it, others are not.
func TestLinksBehindAProxy(t *testing.T) {
	r := httpGet("/things/?page_size=1")
	r.Header.Set("X-Forwarded-Host", "shop.example.com")
	r.Header.Set("X-Forwarded-Proto", "https")
	for _, row := range []struct{ proxies, next string }{
		{"", "http://localhost:8000/things/?page=2&page_size=1"},
		{"10.0.0.0/8", "http://localhost:8000/things/?page=2&page_size=1"},
		{"0.0.0.0", "https://shop.example.com/things/?page=2&page_size=1"}, // where app.Test comes from
	} {
		got := request(t, httpapi.Options{TrustedProxies: strings.Fields(row.proxies)}, pages(2), r)
		if next := httpapitest.Has[struct{ Next string }](t, got, http.StatusOK).Next; next != row.next {
			t.Errorf("trusting %q the next page is %s, want %s", row.proxies, next, row.next)
		}
	}
}

func TestHandlersHaveADeadline(t *testing.T) {
	request(t, httpapi.Options{}, func(c *fiber.Ctx) error {
		deadline, ok := c.UserContext().Deadline()
		if left := time.Until(deadline); !ok || left <= 0 || left > time.Minute {
			t.Errorf("a handler has %v, %v", left, ok)
		}
		return nil
	}, httpGet("/things/"))
}

func TestWhoMayPass(t *testing.T) {
	server := httpapitest.Serve(t, func(app *fiber.App) {
		app.Get("/me/", func(c *fiber.Ctx) error { return c.JSON(httpapi.CallerOf(c).UserID) })
		app.Get("/staff/", httpapi.StaffOnly, func(c *fiber.Ctx) error { return c.JSON(httpapi.CallerOf(c).Staff) })
	})
	const none = `{"error":"Authentication credentials were not provided."}`
	server.Anonymous().Get("/me/").Is(t, http.StatusUnauthorized, none)
	server.Customer(7).Get("/me/").Is(t, http.StatusOK, "7")
	server.Customer(7).Get("/staff/").Is(t, http.StatusForbidden, `{"error":"You do not have permission to perform this action."}`)
	server.Staff(7).Get("/staff/").Is(t, http.StatusOK, "true")
}

func TestBearerTokens(t *testing.T) {
	show := func(c *fiber.Ctx) error {
		token, ok := httpapi.BearerToken(c)
		return c.SendString(fmt.Sprint(token, " ", ok))
	}
	for header, want := range map[string]string{
		"Bearer abc.def": "abc.def true", "bearer abc": "abc true", "Bearer  abc ": "abc true",
		"": " false", "Bearer": " false", "Basic abc": " false", "Bearerabc": " false",
	} {
		r := httpGet("/things/")
		r.Header.Set("Authorization", header)
		if got := request(t, httpapi.Options{}, show, r).Body; got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestTimeAsJSON(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	got, err := httpapi.EncodeJSON([]any{httpapi.Time(time.Date(2025, 1, 8, 11, 0, 0, 999, berlin)), "<&>"})
	if want := `["2025-01-08T10:00:00Z","<&>"]`; err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if _, err := httpapi.EncodeJSON(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}
