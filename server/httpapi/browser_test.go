package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

var protections = map[string]string{
	"Cache-Control":                "no-store",
	"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
}

func expectProtections(t *testing.T, what string, header http.Header) {
	t.Helper()
	for name, want := range protections {
		if got := header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want)
		}
	}
}

func TestEveryAnswerIsProtected(t *testing.T) {
	answers := map[string]fiber.Handler{
		"success": func(c *fiber.Ctx) error { return c.JSON(1) },
		"failure": fails(httpapi.NotFound()),
		"panic":   func(*fiber.Ctx) error { panic("x") },
	}
	for name, handler := range answers {
		expectProtections(t, name, request(t, httpapi.Options{}, handler, httpGet("/things/")).Header)
	}
	expectProtections(t, "no route", request(t, httpapi.Options{}, answers["success"], httpGet("/nothing/")).Header)
	expectProtections(t, "options", request(t, httpapi.Options{}, answers["success"], httptest.NewRequest(http.MethodOptions, "/things/1/", nil)).Header)
}

// What is not HTTP at all is refused before any middleware.
func TestWhatIsNoRequestIsProtectedToo(t *testing.T) {
	address := listen(t, httpapi.New(httpapi.Options{}))
	for _, sent := range []string{"nonsense\r\n\r\n", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n"} {
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(connection, sent)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode/100 != 4 || !strings.HasPrefix(string(body), `{"error":`) {
			t.Errorf("%.20q: got %d %s", sent, response.StatusCode, body)
		}
		expectProtections(t, sent[:8], response.Header)
		connection.Close()
	}
}

func listen(t *testing.T, app *fiber.App) (address string) {
	t.Helper()
	socket, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(socket) }()
	t.Cleanup(func() {
		if err := app.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket.Addr().String()
}

func TestOptionsTellsTheMethodsOfAPath(t *testing.T) {
	ok := func(c *fiber.Ctx) error { return c.JSON(1) }
	got := request(t, httpapi.Options{}, ok, httptest.NewRequest(http.MethodOptions, "/things/1/", nil))
	if got.Status != http.StatusNoContent || got.Header.Get("Allow") != "GET, OPTIONS" && got.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("got %d, Allow %q", got.Status, got.Header.Get("Allow"))
	}
	request(t, httpapi.Options{}, ok, httptest.NewRequest(http.MethodOptions, "/nothing/", nil)).Is(t, http.StatusNotFound, missing)
}

func TestCrossOrigin(t *testing.T) {
	const ours, theirs = "https://front.example.com", "https://evil.example.com"
	for _, row := range []struct {
		name    string
		allowed []string
		origin  string
		want    string
		varies  bool
	}{
		{"none allowed", nil, ours, "", false},
		{"allowed", []string{ours}, ours, ours, true},
		{"another", []string{ours}, theirs, "", true},
		{"a longer one", []string{ours}, ours + ".evil.example.com", "", true},
		{"null", []string{ours}, "null", "", true},
		{"no browser", []string{ours}, "", "", true},
		{"all", []string{"*"}, theirs, "*", false},
	} {
		options := httpapi.Options{CORSOrigins: row.allowed}
		plain := httpGet("/things/")
		preflight := httptest.NewRequest(http.MethodOptions, "/things/", nil)
		preflight.Header.Set("Access-Control-Request-Method", "PUT")
		for _, r := range []*http.Request{plain, preflight} {
			if row.origin != "" {
				r.Header.Set("Origin", row.origin)
			}
			got := request(t, options, fails(httpapi.NotFound()), r)
			header := got.Header
			if header.Get("Access-Control-Allow-Origin") != row.want || strings.Contains(header.Get("Vary"), "Origin") != row.varies {
				t.Errorf("%s, %s: got %v", row.name, r.Method, header)
			}
			if header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s, %s: credentials are allowed", row.name, r.Method)
			}
			if r == plain && (header.Get("Access-Control-Expose-Headers") != "") != (row.want != "") {
				t.Errorf("%s: exposed are %q", row.name, header.Get("Access-Control-Expose-Headers"))
			}
			allowed := header.Get("Access-Control-Allow-Headers")
			if r == preflight && row.want != "" && (got.Status != http.StatusNoContent || !strings.Contains(allowed, "Authorization") ||
				!strings.Contains(header.Get("Access-Control-Allow-Methods"), "PUT") || header.Get("Access-Control-Max-Age") != "600") {
				t.Errorf("%s: the preflight got %d %v", row.name, got.Status, header)
			}
		}
	}
}

func TestTheClientIsTheNearestThatIsNoTrustedProxy(t *testing.T) {
	for _, row := range []struct {
		name      string
		trusted   []string
		forwarded []string
		want      string
	}{
		{"no proxy", nil, []string{"1.1.1.1"}, "0.0.0.0"},
		{"nothing said", []string{"0.0.0.0"}, nil, "0.0.0.0"},
		{"one proxy", []string{"0.0.0.0"}, []string{"1.1.1.1"}, "1.1.1.1"},
		{"a forged beginning", []string{"0.0.0.0"}, []string{"9.9.9.9, 1.1.1.1"}, "1.1.1.1"},
		{"two proxies", []string{"0.0.0.0", "10.0.0.0/8"}, []string{"9.9.9.9, 1.1.1.1,10.1.2.3"}, "1.1.1.1"},
		{"two lines", []string{"0.0.0.0", "10.0.0.0/8"}, []string{"1.1.1.1", "10.1.2.3"}, "1.1.1.1"},
		{"only proxies", []string{"0.0.0.0/0"}, []string{"10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
		{"nonsense", []string{"0.0.0.0"}, []string{"1.1.1.1, unknown"}, "0.0.0.0"},
		{"a port", []string{"0.0.0.0"}, []string{"1.1.1.1:4711"}, "1.1.1.1"},
		{"version 6", []string{"0.0.0.0"}, []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"version 6 in brackets", []string{"0.0.0.0"}, []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"version 4 in 6", []string{"0.0.0.0"}, []string{"::ffff:1.1.1.1"}, "1.1.1.1"},
	} {
		proxies, err := httpapi.ParseProxies(row.trusted)
		if err != nil {
			t.Fatal(err)
		}
		r := httpGet("/things/")
		for _, line := range row.forwarded {
			r.Header.Add("X-Forwarded-For", line)
		}
		tell := func(c *fiber.Ctx) error { return c.SendString(proxies.Client(c).String()) }
		if got := request(t, httpapi.Options{}, tell, r); got.Body != row.want {
			t.Errorf("%s: got %s, want %s", row.name, got.Body, row.want)
		}
	}
	if _, err := httpapi.ParseProxies([]string{"proxy"}); err == nil {
		t.Error("a name was taken for an address")
	}
}
