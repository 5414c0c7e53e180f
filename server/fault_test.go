package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/jackc/pgx/v5"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

// faultRounds is how often each fault comes: once, unless SHOPKEEPER_FAULT_ROUNDS says otherwise.
func faultRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SHOPKEEPER_FAULT_ROUNDS")
	if text == "" {
		return 1
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("SHOPKEEPER_FAULT_ROUNDS is %q, want a count", text)
	}
	return rounds
}

const flow = time.Second // for which orders flow before, during and after a fault

// faulty is a shop of two server processes, whose customers order without a pause and watch.
type faulty struct {
	postgres, redis *databasetest.Server // postgres is nil where nothing happens to it
	database        string               // its URL
	settings        []string
	pods            [2]*server
	customers       []*customer
	ordering        sync.WaitGroup
	closed          atomic.Bool // no more orders
	afterwards      []func()    // what else is to be compared then
}

// customer has a client that resumes, now on one pod and now on the other, and one that stays connected to the
// second pod.
type customer struct {
	id, token         string
	resuming, staying *watcher
}

// Whatever fails while orders flow, every event that the database holds reaches every client that resumes exactly
// once and in order, and every client that stayed connected without a gap.
func TestNothingIsLost(t *testing.T) {
	faults := map[string]func(*testing.T, *faulty){
		"a server dies between commit and publish": killBeforePublish,
		"Redis hangs":               func(t *testing.T, f *faulty) { f.redis.Pause(t); time.Sleep(4 * flow); f.redis.Resume(t) },
		"Redis restarts":            func(t *testing.T, f *faulty) { f.redis.Stop(t); time.Sleep(flow); f.redis.Start(t) },
		databaseRestarts:            func(t *testing.T, f *faulty) { f.postgres.Stop(t); time.Sleep(flow); f.postgres.Start(t) },
		"a client's network is cut": cutNetwork,
		"a reader never reads":      neverRead,
	}
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they mostly wait
			f := openFaulty(t, name == databaseRestarts)
			for range faultRounds(t) {
				time.Sleep(flow)
				faults[name](t, f)
				time.Sleep(flow)
			}
			f.settle(t)
		})
	}
}

const databaseRestarts = "PostgreSQL restarts"

func openFaulty(t *testing.T, ownPostgres bool) *faulty {
	t.Helper()
	f := &faulty{redis: databasetest.StartRedis(t)}
	if ownPostgres {
		f.postgres = databasetest.StartPostgres(t)
		f.database = f.postgres.URL()
		if err := seed(f.database); err != nil {
			t.Fatal(err)
		}
	} else {
		f.database = databasetest.PostgresTemplate(t, seed)
	}
	f.settings = []string{"SHOP_DATABASE_URL=" + f.database, "SHOP_REDIS_URL=" + f.redis.URL()}
	f.query(t, func(ctx context.Context, db *pgx.Conn) error {
		_, err := db.Exec(ctx, "UPDATE products SET stock = 1000000 WHERE id = 1")
		return err
	})
	for i := range f.pods {
		f.pods[i] = start(t, f.settings...)
		awaitReady(t, f.pods[i].api, http.StatusOK)
		awaitReady(t, f.pods[i].sockets, http.StatusOK)
	}
	for i := range 3 {
		registered := want(t, 201, f.pods[0].api, "POST", "/auth/api/register/", "",
			strings.NewReplacer("user@", fmt.Sprintf("user%d@", i), "testuser", fmt.Sprintf("buyer%d", i)).Replace(registration))
		c := &customer{id: field(t, registered, "id"), token: field(t, registered, "access")}
		c.staying = stay(t, c, f.pods[1].sockets)
		c.resuming = &watcher{}
		c.resuming.resume(t, c, 10*time.Second, f.pods[0].sockets, f.pods[1].sockets)
		f.customers = append(f.customers, c)
		f.ordering.Go(func() { f.order(t, c) })
	}
	t.Cleanup(func() { f.closed.Store(true); f.ordering.Wait() })
	return f
}

// order makes orders, on each pod in turn, until the shop closes. Those that fail meanwhile are no matter.
func (f *faulty) order(t *testing.T, c *customer) {
	apis := []string{f.pods[0].api, f.pods[1].api} // which a restarted server keeps
	client := &http.Client{Timeout: 5 * time.Second}
	post := func(address, path, body string) {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+address+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+c.token)
		if response, err := client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}
	for i := 0; !f.closed.Load(); i++ {
		post(apis[i%2], "/api/cart/items/", `{"product_id": 1}`)
		post(apis[i%2], "/api/orders/", `{"shipping_address": "here"}`)
		time.Sleep(50 * time.Millisecond)
	}
}

func (f *faulty) query(t *testing.T, ask func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	db, err := pgx.Connect(ctx, f.database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(ctx)
	if err := ask(ctx, db); err != nil {
		t.Fatal(err)
	}
}

// committed reads the orders that a customer's events are about, in the order of their ids.
func (f *faulty) committed(t *testing.T, c *customer) (orders []int64) {
	t.Helper()
	f.query(t, func(ctx context.Context, db *pgx.Conn) error {
		rows, err := db.Query(ctx, "SELECT (frame::json->>'order_id')::bigint FROM notification_events WHERE user_id = $1 ORDER BY event_id", c.id)
		if err == nil {
			orders, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		}
		return err
	})
	return orders
}

// settle stops the orders and compares what every client has got with what the database holds.
func (f *faulty) settle(t *testing.T) {
	t.Helper()
	f.closed.Store(true)
	f.ordering.Wait()
	for _, c := range f.customers {
		all := f.committed(t, c)
		if len(all) < 5 {
			t.Errorf("customer %s has %d orders, which proves little", c.id, len(all))
		}
		c.resuming.expect(t, "the client that resumes", all)
		c.staying.expect(t, "the client that stays", all)
	}
	for _, compare := range f.afterwards {
		compare()
	}
}

// killBeforePublish freezes Redis, so that the server commits and cannot publish, and kills the server then.
func killBeforePublish(t *testing.T, f *faulty) {
	f.redis.Pause(t)
	time.Sleep(flow / 2)
	victim := f.pods[0]
	_ = victim.process.Process.Kill()
	_ = victim.process.Wait() // killed
	var unpublished int
	f.query(t, func(ctx context.Context, db *pgx.Conn) error {
		return db.QueryRow(ctx, "SELECT count(*) FROM notification_events WHERE published_at IS NULL").Scan(&unpublished)
	})
	if unpublished == 0 {
		t.Error("the dead server left nothing unpublished: this tests nothing")
	}
	f.redis.Resume(t)
	time.Sleep(flow)
	f.pods[0] = start(t, append(f.settings, "SHOP_API_ADDR="+victim.api, "SHOP_NOTIFICATIONS_ADDR="+victim.sockets)...)
	f.pods[0].api, f.pods[0].sockets = victim.api, victim.sockets
	awaitReady(t, victim.sockets, http.StatusOK)
}

// cutNetwork makes the way between a client and a server end in nothing, without a word to either.
func cutNetwork(t *testing.T, f *faulty) {
	way := openTunnel(t, f.pods[0].sockets)
	c := f.customers[0]
	traveller := &watcher{}
	traveller.resume(t, c, flow/2, way.address)
	time.Sleep(flow)
	for range 3 {
		way.cut()
		time.Sleep(flow)
	}
	f.afterwards = append(f.afterwards, func() {
		traveller.expect(t, "the client whose network is cut", f.committed(t, c))
	})
}

// neverRead opens a socket whose owner reads nothing until all orders are made, and then resumes elsewhere.
func neverRead(t *testing.T, f *faulty) {
	c := f.customers[0]
	dialer := websocket.Dialer{Subprotocols: []string{"bearer", c.token}, ReadBufferSize: 512,
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connection, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				err = connection.(*net.TCPConn).SetReadBuffer(1)
			}
			return connection, err
		}}
	idle, _, err := dialer.DialContext(t.Context(), "ws://"+f.pods[0].sockets+"/ws/notifications/"+c.id+"/?last_event_id=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { idle.Close() })
	time.Sleep(2 * flow)
	f.afterwards = append(f.afterwards, func() {
		late := &watcher{}
		_ = late.listen(idle, 2*time.Second) // what the server could still queue, then silence or 1013
		late.resume(t, c, 10*time.Second, f.pods[1].sockets)
		late.expect(t, "the client that reads late", f.committed(t, c))
	})
}

// watcher is a client and what it has got.
type watcher struct {
	mu     sync.Mutex
	orders []int64
	broken error // why it is no longer what it should be
}

// take keeps an event. Those of a client that resumes are numbered, without a gap or a repeat.
func (w *watcher) take(frame []byte) {
	var event struct {
		OrderID int64 `json:"order_id"`
		EventID int64 `json:"event_id"`
	}
	err := json.Unmarshal(frame, &event)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch last := int64(len(w.orders)); {
	case err != nil:
		w.broken = fmt.Errorf("the frame %s: %w", frame, err)
	case event.EventID != 0 && event.EventID != last+1:
		w.broken = fmt.Errorf("event %d came after %d", event.EventID, last)
	case event.EventID == 0 && slices.Contains(w.orders, event.OrderID):
		return // at least once
	}
	w.orders = append(w.orders, event.OrderID)
}

func (w *watcher) state() ([]int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.orders), w.broken
}

func (w *watcher) expect(t *testing.T, who string, want []int64) {
	t.Helper()
	var got []int64
	var broken error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got, broken = w.state(); broken != nil || len(got) >= len(want) {
			break
		}
	}
	if broken != nil || !slices.Equal(got, want) {
		t.Errorf("%s got %d events, %v; want %d", who, len(got), broken, len(want))
		t.Logf("got %v\nwant %v", got, want)
	}
}

// stay opens a client with the frames of the API's first edition, which breaks when its socket ends.
func stay(t *testing.T, c *customer, address string) *watcher {
	t.Helper()
	w := &watcher{}
	var listening sync.WaitGroup
	t.Cleanup(listening.Wait)
	socket := open(t, address, c.id, c.token)
	listening.Go(func() {
		err := w.listen(socket.Conn, time.Hour)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.broken = fmt.Errorf("its socket ended: %w", err)
	})
	return w
}

// resume goes on after the last event that it has got, on each address in turn, whenever its socket ends or says
// nothing for so long.
func (w *watcher) resume(t *testing.T, c *customer, patience time.Duration, addresses ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var resuming sync.WaitGroup
	t.Cleanup(func() { cancel(); resuming.Wait() })
	resuming.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_ = w.connect(ctx, c, patience, addresses[i%len(addresses)]) // it ends one way or another
			time.Sleep(50 * time.Millisecond)
		}
	})
}

func (w *watcher) connect(ctx context.Context, c *customer, patience time.Duration, address string) error {
	got, _ := w.state()
	dialer := websocket.Dialer{Subprotocols: []string{"bearer", c.token}, HandshakeTimeout: patience}
	url := fmt.Sprintf("ws://%s/ws/notifications/%s/?last_event_id=%d", address, c.id, len(got))
	socket, _, err := dialer.DialContext(ctx, url, nil)
	if err != nil {
		return err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	return w.listen(socket, patience)
}

// listen takes what a socket brings until it ends, or says nothing for so long.
func (w *watcher) listen(socket *websocket.Conn, patience time.Duration) error {
	for {
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, frame, err := socket.ReadMessage()
		if err != nil {
			return err
		}
		w.take(frame)
	}
}

// tunnel is a way to a server that can lead nowhere from one moment to the next.
type tunnel struct {
	address string
	mu      sync.Mutex
	ends    []net.Conn
	cuts    []*atomic.Bool
}

func openTunnel(t *testing.T, target string) *tunnel {
	t.Helper()
	door, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	way := &tunnel{address: door.Addr().String()}
	var carrying sync.WaitGroup
	t.Cleanup(func() { door.Close(); way.close(); carrying.Wait() })
	carrying.Go(func() {
		for {
			near, err := door.Accept()
			if err != nil {
				return
			}
			far, err := new(net.Dialer).DialContext(context.Background(), "tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			cut := way.add(near, far)
			carrying.Go(func() { carry(near, far, cut) })
			carrying.Go(func() { carry(far, near, cut) })
		}
	})
	return way
}

func (w *tunnel) add(ends ...net.Conn) *atomic.Bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	cut := &atomic.Bool{}
	w.ends, w.cuts = append(w.ends, ends...), append(w.cuts, cut)
	return cut
}

// carry copies until the end, and from a cut on swallows everything, the end too.
func carry(from, to net.Conn, cut *atomic.Bool) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		switch {
		case err == nil && cut.Load():
			continue
		case err == nil:
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			if !cut.Load() {
				to.Close()
			}
			return
		}
	}
}

func (w *tunnel) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, cut := range w.cuts {
		cut.Store(true)
	}
}

func (w *tunnel) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, end := range w.ends {
		end.Close()
	}
}
