// Package httpapitest calls handlers as clients do: over HTTP, as one user or another.
package httpapitest

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

const (
	timeout         = 30 * time.Second // of one request, and of the end of the server
	keptConnections = 64               // for tests with many clients at once
)

// Server is handlers that listen on a free port of the loopback until their test ends.
type Server struct {
	t    testing.TB
	url  string
	http *http.Client
}

// Client is one user of a server.
type Client struct {
	server *Server
	token  string
	header http.Header
}

// Answer is what a client got.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Serve starts the routes that mount adds. Their requests are those of a [Server.Customer] or a [Server.Staff].
func Serve(t testing.TB, mount func(app *fiber.App)) *Server {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	app := httpapi.New(httpapi.Options{Log: log, Streamed: []string{"/api/products/import/"}})
	app.Use(httpapi.Authenticated(authenticate))
	mount(app)
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(listener) }()
	transport := &http.Transport{MaxIdleConnsPerHost: keptConnections}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := app.ShutdownWithTimeout(timeout); err != nil {
			t.Errorf("stop the server: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &Server{t: t, url: "http://" + listener.Addr().String(), http: &http.Client{Transport: transport}}
}

// Customer is a client that bears the token of a user.
func (s *Server) Customer(userID int64) *Client {
	return &Client{server: s, token: strconv.FormatInt(userID, 10)}
}

// Staff is a client that bears the token of a user who is staff.
func (s *Server) Staff(userID int64) *Client {
	return &Client{server: s, token: strconv.FormatInt(userID, 10) + "/staff"}
}

// Anonymous is a client without a token.
func (s *Server) Anonymous() *Client { return &Client{server: s} }

func authenticate(_ context.Context, token string) (httpapi.Caller, error) {
	id, staff := strings.CutSuffix(token, "/staff")
	userID, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return httpapi.Caller{}, httpapi.BadToken()
	}
	return httpapi.Caller{UserID: userID, Staff: staff}, nil
}

// With is the client sending one header more.
func (c *Client) With(name, value string) *Client {
	more := *c
	more.header = c.header.Clone()
	if more.header == nil {
		more.header = http.Header{}
	}
	more.header.Add(name, value)
	return &more
}

// Do sends a request, with a JSON body unless it is empty, to the host localhost:8000 as far as the server
// can tell. An answer of 500 fails the test.
func (c *Client) Do(method, path, body string) Answer {
	t := c.server.t
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.server.url+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return Answer{}
	}
	request.Host = "localhost:8000"
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(request.Header, c.header)
	response, err := c.server.http.Do(request)
	if err != nil {
		t.Error(err)
		return Answer{}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	if response.StatusCode == http.StatusInternalServerError {
		t.Errorf("%s %s with %s: 500", method, path, body)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(content)}
}

// Get reads a resource.
func (c *Client) Get(path string) Answer {
	c.server.t.Helper()
	return c.Do(http.MethodGet, path, "")
}

// Post sends a body to a resource.
func (c *Client) Post(path, body string) Answer {
	c.server.t.Helper()
	return c.Do(http.MethodPost, path, body)
}

// Is fails the test unless the answer has this status and, byte for byte, this body.
func (a Answer) Is(t testing.TB, status int, body string) {
	t.Helper()
	if a.Status != status || a.Body != body {
		t.Errorf("got %d %s\nwant %d %s", a.Status, a.Body, status, body)
	}
}

// Has fails the test unless the answer has this status, and returns its body as a T.
func Has[T any](t testing.TB, a Answer, status int) (body T) {
	t.Helper()
	if a.Status != status {
		t.Errorf("got %d %s; want %d", a.Status, a.Body, status)
		return body
	}
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
		t.Errorf("%s: %v", a.Body, err)
	}
	return body
}

// Golden returns a file of the package's testdata folder without the line break at its end.
func Golden(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name)) //nolint:gosec // a test names its own file
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(content), "\n")
}
