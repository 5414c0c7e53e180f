package notifications

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil { // they mostly wait
		panic(err)
	}
	databasetest.Main(m)
}

// The tests' tokens: user-7, staff-1, brief-7, which ends in a second, unknown-7, which nobody can check now,
// and panic-7.
func authenticate(_ context.Context, token string) (httpapi.Caller, error) {
	kind, digits, _ := strings.Cut(token, "-")
	id, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return httpapi.Caller{}, httpapi.BadToken()
	}
	switch kind {
	case "user":
		return httpapi.Caller{UserID: id, Expires: time.Now().Add(time.Hour)}, nil
	case "brief":
		return httpapi.Caller{UserID: id, Expires: time.Now().Add(time.Second)}, nil
	case "unknown":
		return httpapi.Caller{}, httpapi.Unavailable()
	case "panic":
		panic("secret")
	case "staff":
		return httpapi.Caller{UserID: id, Staff: true}, nil
	default:
		return httpapi.Caller{}, httpapi.BadToken()
	}
}

// pod is a process of a shop, in this one: stores, outbox, hub and listener of its own.
type pod struct {
	db      *database.DB
	outbox  *outbox.Outbox
	hub     *Hub
	address string
}

type setting func(*Hub)

func origins(allowed ...string) setting {
	return func(h *Hub) { h.origins = append(h.origins, allowed...) }
}

func paced(change func(*pace)) setting { return func(h *Hub) { change(&h.pace) } }

// migrated opens a database of the test's own.
func migrated(t *testing.T) *database.DB {
	t.Helper()
	return databasetest.Open(t, databasetest.Migrated(t))
}

// startPod starts a pod that stops when the test ends.
func startPod(t *testing.T, db *database.DB, redisURL string, settings ...setting) *pod {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	redis, err := pubsub.Open(redisURL, "shop", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redis.Close() })
	if err := redis.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := &pod{db: db}
	p.outbox = outbox.New(p.db, redis, log)
	p.hub = New(Options{Outbox: p.outbox, Authenticate: authenticate, PublicURL: "https://Public.example.com:443/shop/", Log: log})
	for _, set := range settings {
		set(p.hub)
	}
	background(t, p.outbox.Run)
	background(t, p.hub.Run)
	p.listen(t, log)
	return p
}

func (p *pod) listen(t *testing.T, log *slog.Logger) {
	t.Helper()
	app := httpapi.New(httpapi.Options{Log: log, Sockets: true, TrustedProxies: []string{"127.0.0.2"}})
	app.Get("/ws/notifications/:user_id/", p.hub.Handler)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	background(t, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = app.Shutdown() })
		defer stop()
		return app.Listener(listener)
	})
	t.Cleanup(func() {
		gone, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		p.hub.Drain(gone, 0)
		if open := p.hub.Open(); open != 0 {
			t.Errorf("%d sockets outlive the drain", open)
		}
	})
}

// background runs something until the test ends.
func background(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
}

func (p *pod) addUsers(t *testing.T, ids ...int64) {
	t.Helper()
	for _, id := range ids {
		name := fmt.Sprintf("user%d", id)
		err := p.db.WithContext(t.Context()).Exec(`INSERT INTO users
			(id, email, email_key, username, username_key, password_hash, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, '', ?, ?)`, id, name, name, name, name, database.Now(), database.Now()).Error
		if err != nil {
			t.Fatal(err)
		}
	}
}

// commit records frames, as an order does, and leaves publishing them to the caller. The last event is
// returned.
func (p *pod) commit(t *testing.T, user int64, frames ...any) (event outbox.Event) {
	t.Helper()
	err := p.db.InTx(context.Background(), func(tx *gorm.DB) (err error) {
		for _, frame := range frames {
			if event, err = outbox.Record(tx, user, frame); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return event
}

// commitUnheard is commit, and a publication that no socket heard of: the relay has nothing left to do.
func (p *pod) commitUnheard(t *testing.T, user int64, frames ...any) (event outbox.Event) {
	t.Helper()
	event = p.commit(t, user, frames...)
	err := p.db.WithContext(t.Context()).
		Exec("UPDATE notification_events SET published_at = created_at WHERE user_id = ?", user).Error
	if err != nil {
		t.Error(err)
	}
	return event
}

func (p *pod) notify(t *testing.T, user int64, frame any) {
	t.Helper()
	p.outbox.Publish(context.Background(), p.commit(t, user, frame))
}

func (p *pod) url(user int64) string {
	return fmt.Sprintf("ws://%s/ws/notifications/%d/", p.address, user)
}

// client is a WebSocket client that keeps what it gets.
type client struct {
	conn   *websocket.Conn
	frames chan string
	closed chan error // how the connection ended
}

// connect opens a socket for a user, with the user's own token.
func (p *pod) connect(t *testing.T, user int64) *client {
	t.Helper()
	return p.connectAs(t, user, fmt.Sprintf("user-%d", user))
}

func (p *pod) connectAs(t *testing.T, user int64, token string) *client {
	t.Helper()
	c := p.dial(t, user, token)
	go c.read()
	return c
}

// dial opens a socket that nobody reads yet.
func (p *pod) dial(t *testing.T, user int64, token string) *client {
	t.Helper()
	header := http.Header{"Authorization": {"Bearer " + token}}
	conn, response, err := websocket.DefaultDialer.DialContext(t.Context(), p.url(user), header)
	if err != nil {
		t.Fatalf("connect as %s: %v (%+v)", token, err, response)
	}
	_ = response.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return &client{conn: conn, frames: make(chan string, 4096), closed: make(chan error, 1)}
}

func (c *client) read() {
	for {
		kind, frame, err := c.conn.ReadMessage()
		if err != nil {
			c.closed <- err
			return
		}
		if kind != websocket.TextMessage {
			c.closed <- fmt.Errorf("a frame of kind %d", kind)
			return
		}
		c.frames <- string(frame)
	}
}

func (c *client) expect(t *testing.T, frames ...string) {
	t.Helper()
	for i, want := range frames {
		select {
		case got := <-c.frames:
			if got != want {
				t.Fatalf("frame %d is %s, want %s", i+1, got, want)
			}
		case err := <-c.closed:
			t.Fatalf("closed (%v) before frame %d of %d", err, i+1, len(frames))
		case <-time.After(patience):
			t.Fatalf("frame %d of %d did not come", i+1, len(frames))
		}
	}
}

func (c *client) expectNothing(t *testing.T) {
	t.Helper()
	select {
	case got := <-c.frames:
		t.Errorf("got %s, want nothing", got)
	case err := <-c.closed:
		t.Errorf("closed: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
}

// expectOpen allows for frames: those of events that were read before whatever happened.
func (c *client) expectOpen(t *testing.T) {
	t.Helper()
	select {
	case err := <-c.closed:
		t.Errorf("closed: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
}

func (c *client) expectClose(t *testing.T, code int, reason string) {
	t.Helper()
	select {
	case err := <-c.closed:
		closed, ok := err.(*websocket.CloseError) //nolint:errorlint // the library returns it bare
		if !ok || closed.Code != code || closed.Text != reason {
			t.Errorf("closed with %v, want %d %s", err, code, reason)
		}
	case <-time.After(patience):
		t.Errorf("not closed, want %d %s", code, reason)
	}
}

func expectOpen(t *testing.T, p *pod, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); p.hub.Open() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets are open, want %d", p.hub.Open(), want)
		}
	}
}

// numbered is a frame that shows its place among its user's.
type numbered struct {
	User int64 `json:"user"`
	N    int   `json:"n"`
}

func (n numbered) String() string { return fmt.Sprintf(`{"user":%d,"n":%d}`, n.User, n.N) }

func upTo(user int64, n int) (frames []string) {
	for i := range n {
		frames = append(frames, numbered{User: user, N: i + 1}.String())
	}
	return frames
}

// refusal is the answer to a handshake that failed.
type refusal struct {
	status int
	header http.Header
	body   map[string]string
}

func handshake(t *testing.T, url string, header http.Header) (accepted bool, answer refusal, protocol string) {
	t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	conn, response, err := dialer.DialContext(t.Context(), url, header)
	if err == nil {
		defer func() { _ = conn.Close() }()
		return true, refusal{status: response.StatusCode, header: response.Header}, conn.Subprotocol()
	}
	if response == nil {
		t.Fatal(err)
	}
	return false, read(t, response), ""
}

func read(t *testing.T, response *http.Response) refusal {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := refusal{status: response.StatusCode, header: response.Header}
	if err := json.Unmarshal(body, &answer.body); err != nil {
		t.Errorf("the body %q is no error of the API: %v", body, err)
	}
	return answer
}
