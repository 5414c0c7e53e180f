// Package notifications delivers each user's events to that user's open WebSockets. A socket has a cursor,
// the id of the last event it was given, and gets the events after it in their order: from Redis while they
// come in order, from the database when one was missed.
package notifications

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"golang.org/x/sync/errgroup"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
)

// Options says where a hub gets what it delivers, and to whom.
type Options struct {
	Outbox         *outbox.Outbox
	Authenticate   httpapi.Authenticator
	AllowedOrigins []string // besides the request's own host, such as https://shop.example.com; "*" is any
	PublicURL      string   // of the shop, whose origin is allowed too; may be empty
	Log            *slog.Logger
}

// Hub holds the sockets that are open on this pod.
type Hub struct {
	outbox       *outbox.Outbox
	authenticate httpapi.Authenticator
	origins      []string
	log          *slog.Logger
	pace         pace
	upgrade      fiber.Handler

	sockets  registry
	lagging  *userSet // those with a socket that needs events from the database
	draining atomic.Bool
	metrics  *metrics
}

// New makes a hub. It answers handshakes at once; nothing is delivered until [Hub.Run].
func New(options Options) *Hub {
	h := &Hub{
		outbox: options.Outbox, authenticate: options.Authenticate, log: options.Log,
		pace: usualPace, lagging: newUserSet(), metrics: newMetrics(),
	}
	for _, origin := range append([]string{options.PublicURL}, options.AllowedOrigins...) {
		h.origins = append(h.origins, originOf(origin))
	}
	h.upgrade = websocket.New(h.open, websocket.Config{
		Subprotocols:    []string{bearer},
		ReadBufferSize:  readBuffer,
		WriteBufferSize: writeBuffer,
		WriteBufferPool: &writeBuffers,
	})
	return h
}

// Open counts the open sockets.
func (h *Hub) Open() int { return int(h.sockets.open.Load()) }

// Run delivers events until ctx ends. The sockets stay open: see [Hub.Drain], which comes first.
func (h *Hub) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.outbox.Listen(ctx, h.mistrustAll, h.deliver) })
	group.Go(func() error { return h.catchUpAll(ctx) })
	group.Go(func() error { return h.tendAll(ctx) })
	group.Go(func() error { return h.pollAll(ctx) })
	return group.Wait()
}

// deliver hands a published event to the sockets of its user.
func (h *Hub) deliver(event outbox.Event) {
	began, lags, l := time.Now(), false, letter{Event: event, after: event.EventID - 1}
	sockets := h.sockets.of(event.UserID)
	for _, s := range sockets {
		if s.deliver(&l) {
			lags = true
		}
	}
	if len(sockets) > 0 {
		h.metrics.brought(began.Sub(event.CreatedAt), len(sockets))
		h.outbox.Arrived(event, began, len(sockets))
	}
	if lags {
		h.lagging.add(event.UserID)
	}
}

// mistrustAll makes every socket ask the database: something may have been published unheard.
func (h *Hub) mistrustAll() {
	var users []int64
	for s := range h.sockets.all {
		s.mistrust()
		users = append(users, s.userID)
	}
	h.lagging.add(users...) // at once, so that they are read many at a time
}

// pollAll stands in for Redis while it is away: every socket asks the database again and again. A Redis that
// restarts is back before the first time.
func (h *Hub) pollAll(ctx context.Context) error {
	for away := false; ; {
		pause := h.pace.poll*3/4 + rand.N(h.pace.poll/2) //nolint:gosec // jitter, so that pods take turns
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		wasAway := away
		if away = !h.outbox.Listening(); away && wasAway {
			h.mistrustAll()
		}
	}
}

// tendAll pings sockets that are due and closes those whose token has ended.
func (h *Hub) tendAll(ctx context.Context) error {
	ticker := time.NewTicker(h.pace.tend)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			for s := range h.sockets.all {
				s.tend(now)
			}
		}
	}
}

// open begins the life of a socket after its handshake. The goroutine that reads it is a new one, since its
// stack and all that it refers to stay for as long as the socket: the HTTP server's has held a request.
// [Hub.Drain] waits for it.
func (h *Hub) open(wrapper *websocket.Conn) {
	admitted, _ := wrapper.Locals(admissionKey).(admission)
	s := newSocket(wrapper.Conn, admitted, &h.pace, h.lagging) // the wrapper itself is reused by the library
	surplus := h.sockets.add(s)
	h.metrics.opened.Inc()
	if surplus != nil {
		surplus.close(websocket.ClosePolicyViolation, tooMany)
	}
	if h.draining.Load() {
		s.close(websocket.CloseServiceRestart, restarting)
	}
	h.lagging.add(s.userID) // for what was recorded during the handshake
	go h.serve(s)
}

func (h *Hub) serve(s *socket) {
	defer h.sockets.remove(s)
	defer func() { h.metrics.closed.WithLabelValues(s.reason()).Inc() }()
	defer s.end()
	defer h.recoverPanic(s)
	s.read(func(text []byte) { h.hear(s, text) })
}

// recoverPanic confines a panic to the socket that it came from, and keeps its text from the client.
func (h *Hub) recoverPanic(s *socket) {
	if cause := recover(); cause != nil { //nolint:revive // serve defers this function itself
		h.log.Error("panic", "user_id", s.userID, "cause", cause, "stack", string(debug.Stack()))
		message := websocket.FormatCloseMessage(websocket.CloseInternalServerErr, "")
		_ = s.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(time.Second)) // it is lost anyway
	}
}

// Drain refuses new sockets and closes those that are open, in no order, evenly spread over a time, so that
// they do not come back to the other pods all at once. It returns when all are closed. When ctx ends it
// drops the rest.
func (h *Hub) Drain(ctx context.Context, over time.Duration) {
	h.draining.Store(true)
	var sockets []*socket
	for s := range h.sockets.all {
		sockets = append(sockets, s)
	}
	rand.Shuffle(len(sockets), func(i, j int) { //nolint:gosec // the order need not be unguessable
		sockets[i], sockets[j] = sockets[j], sockets[i]
	})
	started := time.Now()
	for i, s := range sockets {
		due := started.Add(over * time.Duration(i) / time.Duration(len(sockets)))
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(due)):
		}
		s.close(websocket.CloseServiceRestart, restarting)
	}
	for h.Open() > 0 {
		select {
		case <-ctx.Done():
			for s := range h.sockets.all {
				s.cut()
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}
