package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// What is measured, on how many sockets and for how long.
const (
	idleSockets  = 10_000
	busySockets  = 5_000
	floodSize    = 200_000 // deliveries
	floodAhead   = 10_000  // of them on their way at once
	steadyRate   = 10_000  // deliveries a second
	steadyTime   = 5 * time.Second
	orderCount   = 2_000
	orderPause   = 5 * time.Millisecond // 200 orders a second
	siegeSize    = 10_000               // handshakes that never finish
	siegePause   = 20                   // of them between two that do
	settleTime   = 10 * time.Second     // until idle memory has gone back to the system
	socketsLimit = 8 * time.Minute
)

// socketBench is a shop with two servers, and their sockets.
type socketBench struct {
	*shop

	publisher *redis.Client
	fleet     *fleet
	next      []int64 // the next event of each user
	rows      [][]string
}

// benchNotifications prints what connections and notifications cost.
func benchNotifications(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, socketsLimit)
	defer cancel()
	if err := allowFiles(); err != nil {
		return err
	}
	b := &socketBench{fleet: newFleet(idleSockets), next: make([]int64, idleSockets+1), rows: [][]string{{"notifications", "measured", "wanted"}}}
	err = b.start(ctx)
	defer b.stop()
	if err != nil {
		return err
	}
	for _, measure := range []func(context.Context) error{b.connect, b.resync, b.order, b.flood, b.steady, b.besiege} {
		if err := measure(ctx); err != nil {
			return errors.Join(err, printTable(b.rows...))
		}
	}
	return printTable(b.rows...)
}

// mostFiles is how many files are open at once: one a socket, and some.
const mostFiles = busySockets + siegeSize + 1000

// allowFiles raises the limit of open files.
func allowFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("ask how many files may be open: %w", err)
	}
	if limit.Max < mostFiles {
		return fmt.Errorf("only %d files may be open: want %d (ulimit -Hn)", limit.Max, mostFiles)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("allow %d open files: %w", limit.Max, err)
	}
	return nil
}

// start makes the shop: one product in the cart of each user who orders, and two servers.
func (b *socketBench) start(ctx context.Context) (err error) {
	b.shop, err = openShop(ctx, idleSockets,
		`INSERT INTO categories (name, name_key, slug, created_at, updated_at) VALUES ('All', 'all', 'all', now(), now())`,
		`INSERT INTO products (name, description, price_cents, stock, category_id, image, featured, search_text, created_at, updated_at)
			SELECT 'Product ' || n, '', 100, 1000000, 1, '', false, 'product', now(), now() FROM generate_series(1, 1000) n`,
		fmt.Sprintf("INSERT INTO cart_items (cart_id, product_id, quantity) SELECT id, 1 + id %% 1000, 1 FROM carts WHERE user_id <= %d", orderCount),
		"VACUUM ANALYZE")
	if err != nil {
		return err
	}
	options, err := redis.ParseURL(b.shop.redis.URL())
	if err != nil {
		return fmt.Errorf("read the Redis URL: %w", err)
	}
	b.publisher = redis.NewClient(options)
	return errors.Join(b.shop.start(ctx), b.shop.start(ctx))
}

func (b *socketBench) stop() {
	b.fleet.close(0)
	if b.publisher != nil {
		_ = b.publisher.Close() // the bench is over
	}
	b.close()
}

func (b *socketBench) note(what, measured, wanted string) {
	fmt.Fprintf(os.Stderr, "==> %s: %s\n", what, measured)
	b.rows = append(b.rows, []string{what, measured, wanted})
}

// connect opens all sockets, half on each pod.
func (b *socketBench) connect(ctx context.Context) error {
	before := b.memory()
	started := time.Now()
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for user := 1; user <= idleSockets; user++ {
		group.Go(func() error { return b.fleet.open(running, b.pods[user%2].hub, user, b.tokens[user]) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(started)
	time.Sleep(settleTime)
	b.note("memory of an idle connection, of 10,000", fmt.Sprintf("%.1f KB", float64(b.memory()-before)/idleSockets/1000), "≤ 14 KB")
	b.note("connects with token checks", fmt.Sprintf("%.0f/s", idleSockets/took.Seconds()), "≥ 4,500/s")
	return nil
}

// resync records an event for every user that nobody publishes, and restarts Redis.
func (b *socketBench) resync(ctx context.Context) error {
	const marker = "behind AS MATERIALIZE[D]" // of the query that reads what many users missed, and not of itself
	before := b.fleet.received.Load()
	err := b.run(ctx, "ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()",
		"INSERT INTO notification_counters (user_id, last_event_id) SELECT id, 1 FROM users",
		`INSERT INTO notification_events (user_id, event_id, frame, created_at, published_at)
			SELECT id, 1, '{"type":"order_notification","order_id":1,"message":"Order created successfully"}', now(), now() FROM users`)
	if err != nil {
		return err
	}
	if err := b.shop.redis.Restart(); err != nil {
		return err
	}
	started := time.Now()
	if err := b.fleet.await(ctx, before+idleSockets); err != nil {
		return err
	}
	took := time.Since(started)
	var queries int
	err = b.pool.QueryRow(ctx, `SELECT count(*) FROM regexp_matches(pg_read_file(current_setting('data_directory') || '/../log'), $1, 'g')`,
		marker).Scan(&queries)
	if err != nil {
		return fmt.Errorf("count the queries: %w", err)
	}
	b.note("resync of 10,000 users after a restart of Redis", fmt.Sprintf("%.2f s", took.Seconds()), "< 3 s")
	b.note("queries of that resync", fmt.Sprint(queries), "≤ 20")
	for user := range b.next {
		b.next[user] = 2
	}
	return b.run(ctx, "ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()")
}

// order makes orders at one pod for users whose sockets are on the other.
func (b *socketBench) order(ctx context.Context) error {
	var lock sync.Mutex
	arrived, sent := map[int]time.Time{}, map[int]time.Time{}
	b.fleet.watch(func(user int, _ []byte) {
		lock.Lock()
		defer lock.Unlock()
		arrived[user] = time.Now()
	})
	defer b.fleet.watch(func(int, []byte) {})
	before := b.fleet.received.Load()
	group, running := errgroup.WithContext(ctx)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 10 * time.Second}
	begun := time.Now()
	for user := 1; user <= orderCount; user++ {
		time.Sleep(time.Until(begun.Add(time.Duration(user) * orderPause)))
		lock.Lock()
		sent[user] = time.Now()
		lock.Unlock()
		group.Go(func() error { return b.post(running, client, user) })
		b.next[user]++
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := b.fleet.await(ctx, before+orderCount); err != nil {
		return err
	}
	var times []time.Duration
	for user, at := range sent {
		times = append(times, arrived[user].Sub(at))
	}
	b.note("order to frame on another pod, p99 at 200 orders/s", percentile99(times), "< 25 ms")
	return nil
}

func (b *socketBench) post(ctx context.Context, client *http.Client, user int) error {
	url := "http://" + b.pods[(user+1)%2].api + "/api/orders/"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"shipping_address":"home"}`))
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+b.tokens[user])
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusCreated {
		return fmt.Errorf("an order was answered %d %s: %w", response.StatusCode, answer, err)
	}
	return nil
}

// publish sends events from Redis, to the users in turn, as a pod does. The number of each is the time.
func (b *socketBench) publish(ctx context.Context, from, count int) error {
	_, err := b.publisher.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := range count {
			user := 1 + (from+i)%busySockets
			now := time.Now().UnixMicro()
			pipe.Publish(ctx, fmt.Sprintf("bench:notifications:%d", user%32), fmt.Sprintf(
				`%d %d %d {"type":"order_notification","order_id":%d,"message":"Order created successfully"}`, user, b.next[user], now, now))
			b.next[user]++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// flood delivers as fast as it goes, and divides by the time of the servers' processors.
func (b *socketBench) flood(ctx context.Context) error {
	b.fleet.close(busySockets)
	time.Sleep(time.Second)
	const batch = 500
	before, spent := b.fleet.received.Load(), b.processorTime()
	for done := 0; done < floodSize; done += batch {
		if err := b.publish(ctx, done, batch); err != nil {
			return err
		}
		if err := b.fleet.await(ctx, before+int64(done-floodAhead)); err != nil {
			return err
		}
	}
	if err := b.fleet.await(ctx, before+floodSize); err != nil {
		return err
	}
	perSecond := floodSize / (b.processorTime() - spent).Seconds()
	b.note("deliveries a second of the servers' processors", fmt.Sprintf("%.0f", perSecond), "≥ 40,000")
	return nil
}

// steady delivers at a fixed rate.
func (b *socketBench) steady(ctx context.Context) error {
	var lock sync.Mutex
	var times []time.Duration
	b.fleet.watch(func(_ int, frame []byte) {
		took := time.Since(time.UnixMicro(number(frame)))
		lock.Lock()
		defer lock.Unlock()
		times = append(times, took)
	})
	before, begun, sent := b.fleet.received.Load(), time.Now(), 0
	for time.Since(begun) < steadyTime {
		due := int(time.Since(begun).Seconds() * steadyRate)
		if err := b.publish(ctx, sent, due-sent); due > sent && err != nil {
			return err
		}
		sent = due
		time.Sleep(time.Millisecond)
	}
	if err := b.fleet.await(ctx, before+int64(sent)); err != nil {
		return err
	}
	lock.Lock()
	defer lock.Unlock()
	b.note("Redis to socket, p99 at 10,000/s on 5,000 connections", percentile99(times), "< 10 ms")
	return nil
}

// besiege begins handshakes at one pod that never finish, and opens sockets of others meanwhile.
func (b *socketBench) besiege(ctx context.Context) error {
	target := b.pods[0]
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", target.process.Process.Pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("forget the most memory that was used: %w", err)
	}
	before := target.status("VmRSS")
	var unfinished []net.Conn
	defer func() {
		for _, connection := range unfinished {
			_ = connection.Close() // it was never of use
		}
	}()
	var times []time.Duration
	for n := range siegeSize {
		connection, err := dial(ctx, target.hub, n)
		if err != nil {
			return err
		}
		unfinished = append(unfinished, connection)
		_, _ = fmt.Fprint(connection, "GET /ws/notifications/1/ HTTP/1.1\r\nHost: shop\r\n") // fails if it had to go already
		if user := busySockets + 1 + n/siegePause; n%siegePause == 0 {
			began := time.Now()
			if err := b.fleet.open(ctx, target.hub, user, b.tokens[user]); err != nil {
				return err
			}
			times = append(times, time.Since(began))
		}
	}
	b.note("memory for 10,000 handshakes that never finish", fmt.Sprintf("%.0f MB", float64(target.status("VmHWM")-before)/1000), "bounded")
	b.note("connect meanwhile, p99", percentile99(times), "")
	return nil
}

func percentile99(times []time.Duration) string {
	slices.Sort(times)
	return fmt.Sprintf("%.1f ms", float64(times[len(times)*99/100].Microseconds())/1000)
}

// memory is the resident memory of both servers, in bytes.
func (b *socketBench) memory() (total int64) {
	for _, pod := range b.pods {
		total += pod.status("VmRSS") << 10
	}
	return total
}

// processorTime is what both servers have used so far.
func (b *socketBench) processorTime() (total time.Duration) {
	for _, pod := range b.pods {
		total += pod.processorTime()
	}
	return total
}
