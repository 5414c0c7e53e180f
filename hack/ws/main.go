// A WebSocket client for a terminal: prints the frames that a shop sends, one a line, until it is stopped
// or the server closes.
//
//	go run ./hack/ws ws://localhost:8001/ws/notifications/1/ ACCESS_TOKEN
//
// The token travels as a subprotocol, the way a browser sends it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/fasthttp/websocket"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run ./hack/ws ws://HOST:PORT/ws/notifications/USER_ID/ ACCESS_TOKEN")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := watch(ctx, os.Args[1], os.Args[2])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ws:", err)
		os.Exit(1)
	}
}

func watch(ctx context.Context, url, token string) error {
	dialer := websocket.Dialer{HandshakeTimeout: 10 * time.Second, Subprotocols: []string{"bearer", token}}
	socket, response, err := dialer.DialContext(ctx, url, nil)
	if err != nil {
		return refusal(url, response, err)
	}
	defer socket.Close() //nolint:errcheck // nothing is left to lose
	fmt.Fprintln(os.Stderr, "connected; waiting for notifications (Ctrl-C ends)")
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	for {
		_, frame, err := socket.ReadMessage()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read a frame: %w", err)
		}
		fmt.Println(string(frame))
	}
}

func refusal(url string, response *http.Response, err error) error {
	if errors.Is(err, websocket.ErrBadHandshake) && response != nil {
		return fmt.Errorf("%s answered %s: log in again if the token is older than 15 minutes, and use the id of its user", url, response.Status)
	}
	return fmt.Errorf("connect to %s: %w", url, err)
}
