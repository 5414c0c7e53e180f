//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// The local cluster's ingresses, as the API document has them; the host tells the Shops apart.
const (
	apiAddress       = "127.0.0.1:8000"
	socketAddress    = "127.0.0.1:8001"
	host             = "e2e.localhost"
	customerPassword = "securepassword123"
)

type object map[string]any

func (o object) id() int64 {
	number, _ := o["id"].(float64)
	return int64(number)
}

// caller speaks to the REST ingress on behalf of a user; the zero caller is anonymous.
type caller struct {
	userID int64
	access string
}

// Each request is a connection of its own, so that the ingress spreads them over the pods.
var httpClient = &http.Client{
	Timeout: 15 * time.Second,
	Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, apiAddress)
		},
	},
}

func (c *caller) try(ctx context.Context, method, path string, body object) (status int, answer string, err error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, "", err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+host+":8000"+path, content)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.access != "" {
		request.Header.Set("Authorization", "Bearer "+c.access)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func (c *caller) do(t *testing.T, method, path string, body object, want int) object {
	t.Helper()
	status, text, err := c.try(t.Context(), method, path, body)
	if err != nil || status != want {
		t.Fatalf("%s %s: got %d %s %v, want %d", method, path, status, text, err, want)
	}
	var answer object
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return answer
}

func (c *caller) get(t *testing.T, path string) object {
	t.Helper()
	return c.do(t, http.MethodGet, path, nil, http.StatusOK)
}

func (c *caller) post(t *testing.T, path string, body object, want int) object {
	t.Helper()
	return c.do(t, http.MethodPost, path, body, want)
}

func (c *caller) patch(t *testing.T, path string, body object, want int) object {
	t.Helper()
	return c.do(t, http.MethodPatch, path, body, want)
}

func (s *story) register(t *testing.T, email string) *caller {
	t.Helper()
	answer := (&caller{}).post(t, "/auth/api/register/", object{
		"email": email, "username": "testuser", "first_name": "Test", "last_name": "User",
		"password": customerPassword, "password_confirm": customerPassword,
		"phone": "+1234567890", "address": "123 Main St, City, Country",
	}, http.StatusCreated)
	user, _ := answer["user"].(map[string]any)
	access, _ := answer["access"].(string)
	return &caller{userID: object(user).id(), access: access}
}

func (s *story) logIn(t *testing.T, email, password string) *caller {
	t.Helper()
	answer := (&caller{}).post(t, "/auth/api/token/", object{"email": email, "password": password}, http.StatusOK)
	access, _ := answer["access"].(string)
	return &caller{access: access}
}

// traffic is a customer who keeps reading the catalogue.
type traffic struct {
	end      context.CancelFunc
	finished sync.WaitGroup
	requests int
	failures []string
}

// keepReading reads the catalogue some twenty times a second until it is stopped.
func (s *story) keepReading(t *testing.T) *traffic {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	reading := &traffic{end: cancel}
	reading.finished.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			started := time.Now()
			status, body, err := s.customer.try(context.WithoutCancel(ctx), http.MethodGet, "/api/products/", nil)
			reading.requests++
			if err != nil || status != http.StatusOK {
				reading.failures = append(reading.failures, fmt.Sprintf("%s: %d %s %v", started.Format(time.StampMilli), status, body, err))
			}
		}
	})
	return reading
}

// stop ends the reading; no request may have failed.
func (r *traffic) stop(t *testing.T) {
	t.Helper()
	r.end()
	r.finished.Wait()
	t.Logf("%d requests meanwhile", r.requests)
	if r.requests == 0 || len(r.failures) > 0 {
		t.Errorf("of %d requests %d failed: %v", r.requests, len(r.failures), r.failures)
	}
}

// socket is an open notification socket of the customer.
type socket struct{ *websocket.Conn }

func (s *story) openSocket(t *testing.T) *socket {
	t.Helper()
	dialer := websocket.Dialer{
		HandshakeTimeout: 10 * time.Second,
		Subprotocols:     []string{"bearer", s.customer.access},
		NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, socketAddress)
		},
	}
	url := fmt.Sprintf("ws://%s:8001/ws/notifications/%d/", host, s.customer.userID)
	opened, response, err := dialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatalf("open a socket: %v %v", err, response)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return &socket{opened}
}

// expect reads frames, which must be exactly these.
func (s *socket) expect(t *testing.T, frames ...string) {
	t.Helper()
	for _, want := range frames {
		if err := s.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, got, err := s.ReadMessage()
		if err != nil || string(got) != want {
			t.Fatalf("got the frame %s (%v), want %s", got, err, want)
		}
	}
}

// expectClose reads until the server closes the socket, which must be with this code.
func (s *socket) expectClose(t *testing.T, code int) {
	t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for {
		_, _, err := s.ReadMessage()
		if websocket.IsCloseError(err, code) {
			return
		}
		if err != nil {
			t.Fatalf("the socket ended with %v, want close code %d", err, code)
		}
	}
}
