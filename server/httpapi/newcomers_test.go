package httpapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// Handshakes that never finish keep no more than so many connections, the latest, and nobody else out.
func TestHandshakesThatNeverFinish(t *testing.T) {
	t.Parallel()
	const limit, many = 50, 500
	address := serveSockets(t, limit)
	begin := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprint(conn, "GET /ws/ HTTP/1.1\r\nHost: shop\r\n"); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var unfinished []net.Conn
	for range many {
		unfinished = append(unfinished, begin())
	}
	// One that does finish keeps its connection, however many come after it.
	finished := begin()
	finish := func() {
		t.Helper()
		if _, err := fmt.Fprint(finished, "\r\n"); err != nil {
			t.Fatal(err)
		}
		_ = finished.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer, err := http.ReadResponse(bufio.NewReader(finished), nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("a handshake that finishes is answered %d", answer.StatusCode)
		}
	}
	finish()
	for _, conn := range unfinished[:many-limit] {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a connection stays that is one too many: %v", err)
		}
	}
	for range many {
		begin()
	}
	if _, err := fmt.Fprint(finished, "hello"); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, 5)
	_ = finished.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(finished, echo); err != nil || string(echo) != "hello" {
		t.Errorf("the socket says %q, %v", echo, err)
	}
}

// serveSockets serves a listener for WebSockets, each of which is an echo.
func serveSockets(t *testing.T, limit int) (address string) {
	t.Helper()
	app := httpapi.New(httpapi.Options{Log: slog.New(slog.DiscardHandler), Sockets: true})
	httpapi.LimitNewcomers(app, limit)
	app.Get("/ws/", func(c *fiber.Ctx) error {
		c.Status(http.StatusSwitchingProtocols)
		c.Context().Hijack(func(conn net.Conn) {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		})
		return nil
	})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(listener) }()
	t.Cleanup(func() {
		_ = app.Server().Shutdown()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}
