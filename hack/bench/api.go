package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/jackc/pgx/v5"
)

const (
	benchProducts   = 10_000
	benchCategories = 20
	benchUsers      = 1000
	ordersASecond   = 200 // in the background of one round, if the machine makes as many
	orderers        = 16
	turns           = 5 // of a path and its ceiling
)

// bench is a shop with one server under load, and what it is compared with.
type bench struct {
	*shop

	rows [][]string
}

// benchAPI measures hot paths of the API beside their bare ceilings: those whose names have the word.
func benchAPI(ctx context.Context, word string) error {
	shop, err := openShop(ctx, benchUsers, addProducts...)
	defer shop.close()
	if err != nil {
		return err
	}
	b := &bench{shop: shop, rows: [][]string{{"path", "per second", "p50", "p99", "ceiling", "its p50", "its p99", "of it"}}}
	if err := b.start(ctx, "SHOP_ROLES=api", "SHOP_RATE_LIMITS=user=60000000/m,anonymous=60000000/m"); err != nil {
		return err
	}
	if err := b.measure(ctx, word); err != nil {
		return errors.Join(err, printTable(b.rows...))
	}
	return printTable(b.rows...)
}

const addCategories = `INSERT INTO categories (name, name_key, slug, created_at, updated_at)
	SELECT 'Category ' || n, 'category ' || n, 'c' || n, now(), now() FROM generate_series(1, 20) n`

// addProducts fills the catalogue.
var addProducts = []string{
	addCategories,
	fmt.Sprintf(`INSERT INTO products (name, description, price_cents, stock, category_id, image, featured, search_text, created_at, updated_at)
		SELECT 'Product ' || n, 'What is number ' || n || ' good for?', 100 + n * 7919 %% 99000, 1000000, 1 + n %% %d, 'https://example.com/' || n || '.jpg', n %% 10 = 0,
			'product ' || n || chr(10) || 'what is number ' || n || ' good for?', now() - n * interval '1 second', now() FROM generate_series(1, %d) n`, benchCategories, benchProducts),
	"VACUUM ANALYZE",
}

// prebuilt is a Fiber that sends the same bytes always, of the length of a page of products.
func prebuilt(address string) error {
	body := []byte(strings.Repeat("x", 4000))
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/", func(c *fiber.Ctx) error {
		c.Response().SetBodyRaw(body)
		return nil
	})
	return app.Listen(address)
}

// measure takes the rows of the table whose names have the word.
func (b *bench) measure(ctx context.Context, word string) error {
	for _, row := range []struct {
		name              string
		measured, ceiling round
	}{
		{"list, warm", b.warm("/api/products/"), b.fiber},
		{"list, another filter each time", b.filtered, b.bareFiltered},
		{"list, another search each time", b.searched, b.bareSearched},
		{"detail, warm", b.warm("/api/products/77/"), b.fiber},
		{"cart, add", b.addToCart, b.bareAddToCart},
		{"cart, read", b.readCart, b.bareReadCart},
		{fmt.Sprintf("list, warm, while %d orders/s are made", ordersASecond), b.ordering(b.warm("/api/products/")), b.ordering(b.fiber)},
		{"order", b.orders, b.bareOrders},
	} {
		if !strings.Contains(row.name, word) {
			continue
		}
		measured, ceiling, err := inTurns(ctx, row.measured, row.ceiling)
		if err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
		b.note(row.name, measured, ceiling)
	}
	b.rows = append(b.rows, []string{"memory of the server, at most", fmt.Sprintf("%d MB", b.pods[0].status("VmHWM")>>10)})
	return nil
}

// round is one of load.
type round func(ctx context.Context) (result, error)

// inTurns sums up rounds of the one and the other, one after the other, for a machine is not equally fast for long.
// The first two do not count: they pay for what is prepared.
func inTurns(ctx context.Context, one, other round) (first, second result, err error) {
	for n := range 1 + turns {
		ofOne, err := one(ctx)
		if err != nil {
			return first, second, err
		}
		ofOther, err := other(ctx)
		if err != nil {
			return first, second, fmt.Errorf("its ceiling: %w", err)
		}
		if n > 0 {
			first.add(ofOne)
			second.add(ofOther)
		}
	}
	return first, second, nil
}

// note adds a row.
func (b *bench) note(name string, measured, ceiling result) {
	row := append([]string{name}, figures(measured)...)
	row = append(append(row, figures(ceiling)...), fmt.Sprintf("%.0f%%", 100*measured.rate()/ceiling.rate()))
	b.rows = append(b.rows, row)
}

// figures are a rate and two latencies.
func figures(r result) []string {
	return []string{fmt.Sprintf("%.0f", r.rate()), rounded(r.percentile(50)), rounded(r.percentile(99))}
}

// warm asks for what is ready.
func (b *bench) warm(path string) round {
	return func(ctx context.Context) (result, error) { return b.api(ctx, 0, b.reads(path), http.StatusOK) }
}

// reads are requests for one path, from a user a worker.
func (b *bench) reads(path string) func(worker, call int) []byte {
	var requests [connections][]byte
	for worker := range requests {
		requests[worker] = request(http.MethodGet, path, b.tokens[1+worker], "")
	}
	return func(worker, _ int) []byte { return requests[worker] }
}

func random(below int) int { return rand.IntN(below) } //nolint:gosec // any numbers will do

func (b *bench) filtered(ctx context.Context) (result, error) {
	return b.api(ctx, 0, func(worker, _ int) []byte {
		path := fmt.Sprintf("/api/products/?category=%d&price_min=%d.%02d", 1+random(benchCategories), random(500), random(100))
		return request(http.MethodGet, path, b.tokens[1+worker], "")
	}, http.StatusOK)
}

func (b *bench) searched(ctx context.Context) (result, error) {
	return b.api(ctx, 0, func(worker, _ int) []byte {
		return request(http.MethodGet, fmt.Sprintf("/api/products/?search=number+%d", random(benchProducts)), b.tokens[1+worker], "")
	}, http.StatusOK)
}

func (b *bench) bareSearched(ctx context.Context) (result, error) {
	const query = `SELECT p.id, p.name, p.price_cents, p.stock, p.stock_moves, (SELECT c.name FROM categories c WHERE c.id = p.category_id),
			p.image, p.stock > 0, p.featured
		FROM (SELECT p.id, p.name, p.price_cents, p.stock, p.stock_moves, p.category_id, p.image, p.featured, p.created_at
			FROM products p WHERE p.archived_at IS NULL AND p.search_text LIKE $1 AND p.search_text LIKE $2
			ORDER BY p.created_at DESC, p.id DESC LIMIT $3 OFFSET $4) p ORDER BY p.created_at DESC, p.id DESC`
	return b.bare(ctx, query, func(int) []any {
		return []any{"%number%", fmt.Sprintf("%%%d%%", random(benchProducts)), 20, 0}
	})
}

// addedProduct is what a call puts into a cart.
func addedProduct(call int) int { return 1 + random(5) + 10*(call%100) }

func (b *bench) addToCart(ctx context.Context) (result, error) {
	return b.api(ctx, 0, func(_, call int) []byte {
		return request(http.MethodPost, "/api/cart/items/", b.tokens[1+call%benchUsers], fmt.Sprintf(`{"product_id":%d}`, addedProduct(call)))
	}, http.StatusCreated)
}

func (b *bench) bareAddToCart(ctx context.Context) (result, error) {
	const statement = `INSERT INTO cart_items (cart_id, product_id, quantity)
		SELECT k.id, p.id, 1 FROM carts k, products p WHERE k.user_id = $1 AND p.id = $2 AND p.archived_at IS NULL AND p.stock >= 1
		ON CONFLICT (cart_id, product_id) DO UPDATE SET quantity = cart_items.quantity + excluded.quantity
			WHERE CAST(cart_items.quantity AS bigint) + excluded.quantity
				<= (SELECT p.stock FROM products p WHERE p.id = excluded.product_id)
		RETURNING id, product_id, (SELECT p.name FROM products p WHERE p.id = cart_items.product_id), quantity`
	return b.bare(ctx, statement, func(call int) []any { return []any{1 + call%benchUsers, addedProduct(call)} })
}

func (b *bench) readCart(ctx context.Context) (result, error) {
	return b.api(ctx, 0, func(_, call int) []byte {
		return request(http.MethodGet, "/api/cart/", b.tokens[1+call%benchUsers], "")
	}, http.StatusOK)
}

func (b *bench) bareReadCart(ctx context.Context) (result, error) {
	const query = `SELECT i.cart_id, i.id, p.id, p.name, p.price_cents, c.name, i.quantity
		FROM carts k JOIN cart_items i ON i.cart_id = k.id JOIN products p ON p.id = i.product_id AND p.archived_at IS NULL
		JOIN categories c ON c.id = p.category_id WHERE k.user_id = $1 ORDER BY i.id`
	return b.bare(ctx, query, func(call int) []any { return []any{1 + call%benchUsers} })
}

// bare is a round of one statement, which has rows, and no server.
func (b *bench) bare(ctx context.Context, statement string, arguments func(call int) []any) (result, error) {
	return load(ctx, 0, func(ctx context.Context, _, call int) error {
		rows, err := b.pool.Query(ctx, statement, arguments(call)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			rows.RawValues()
		}
		return rows.Err()
	})
}

// api is one round of load on the server.
func (b *bench) api(ctx context.Context, calls int, request func(worker, call int) []byte, status int) (result, error) {
	all, err := clients(ctx, b.pods[0].api)
	if err != nil {
		return result{}, err
	}
	defer closeAll(all)
	return load(ctx, calls, func(_ context.Context, worker, call int) error {
		return all[worker].do(request(worker, call), status)
	})
}

// fiber is the ceiling of answers that are ready.
func (b *bench) fiber(ctx context.Context) (result, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return result{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return result{}, fmt.Errorf("find this program: %w", err)
	}
	server := exec.CommandContext(ctx, self, "prebuilt", address)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		return result{}, fmt.Errorf("start the ceiling: %w", err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait() // it was killed
	}()
	var all []*connection
	for range 100 {
		if all, err = clients(ctx, address); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return result{}, err
	}
	defer closeAll(all)
	message := request(http.MethodGet, "/", b.tokens[1], "")
	return load(ctx, 0, func(_ context.Context, worker, _ int) error { return all[worker].do(message, http.StatusOK) })
}

// bareFiltered is the ceiling of a list that is not ready: its query alone.
func (b *bench) bareFiltered(ctx context.Context) (result, error) {
	const query = `SELECT p.id, p.name, p.price_cents, p.stock, p.stock_moves, (SELECT c.name FROM categories c WHERE c.id = p.category_id),
			p.image, p.stock > 0, p.featured
		FROM (SELECT p.id, p.name, p.price_cents, p.stock, p.stock_moves, p.category_id, p.image, p.featured, p.created_at
			FROM products p WHERE p.archived_at IS NULL AND p.category_id = $1 AND p.price_cents >= $2
			ORDER BY p.created_at DESC, p.id DESC LIMIT $3 OFFSET $4) p ORDER BY p.created_at DESC, p.id DESC`
	return load(ctx, 0, func(ctx context.Context, _, _ int) error {
		rows, err := b.pool.Query(ctx, query, 1+random(benchCategories), random(50_000), 20, 0)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, price, stock, moves int64
			var name, category, image string
			var inStock, featured bool
			if err := rows.Scan(&id, &name, &price, &stock, &moves, &category, &image, &inStock, &featured); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// ordering has orders made during a round.
func (b *bench) ordering(measure round) round {
	return func(ctx context.Context) (measured result, err error) {
		ordering, stop := context.WithCancel(ctx)
		defer stop()
		all, err := clients(ctx, b.pods[0].api)
		if err != nil {
			return result{}, err
		}
		defer closeAll(all)
		var made atomic.Int64
		var everybody sync.WaitGroup
		ticker := time.NewTicker(time.Second / ordersASecond)
		defer ticker.Stop()
		began := time.Now()
		for n := range orderers {
			everybody.Go(func() {
				for count := n; ; count += orderers {
					select {
					case <-ordering.Done():
						return
					case <-ticker.C:
					}
					if b.order(all[n], count) != nil {
						return
					}
					made.Add(1)
				}
			})
		}
		measured, err = measure(ctx)
		stop()
		everybody.Wait()
		fmt.Fprintf(os.Stderr, "==> meanwhile %.0f orders/s\n", float64(made.Load())/time.Since(began).Seconds())
		return measured, err
	}
}

const orderBody = `{"shipping_address":"123 Main St, City, Country"}`

// order buys a product of the first page.
func (b *bench) order(c *connection, count int) error {
	token := b.tokens[1+count%benchUsers]
	add := request(http.MethodPost, "/api/cart/items/", token, fmt.Sprintf(`{"product_id":%d}`, 1+count%20))
	if err := c.do(add, http.StatusCreated); err != nil {
		return err
	}
	return c.do(request(http.MethodPost, "/api/orders/", token, orderBody), http.StatusCreated)
}

// orders makes an order of every cart.
func (b *bench) orders(ctx context.Context) (result, error) {
	if err := b.fillCarts(ctx); err != nil {
		return result{}, err
	}
	return b.api(ctx, benchUsers, func(_, call int) []byte {
		return request(http.MethodPost, "/api/orders/", b.tokens[1+call], orderBody)
	}, http.StatusCreated)
}

// bareOrders makes them by the same statements without the server.
func (b *bench) bareOrders(ctx context.Context) (result, error) {
	statement, err := os.ReadFile("server/orders/place.sql")
	if err != nil {
		return result{}, err
	}
	if err := b.fillCarts(ctx); err != nil {
		return result{}, err
	}
	return load(ctx, benchUsers, func(ctx context.Context, _, call int) error {
		return b.bareOrder(ctx, string(statement), int64(call+1))
	})
}

// fillCarts puts two products into every cart, and leaves nothing of those before for whoever comes next to clean up.
func (b *bench) fillCarts(ctx context.Context) error {
	return b.run(ctx, `WITH emptied AS (DELETE FROM cart_items)
		INSERT INTO cart_items (cart_id, product_id, quantity) SELECT c.id, 5000 + (c.id * 37 + n * 1000) % 4000, 1
		FROM carts c, generate_series(1, 2) n ON CONFLICT (cart_id, product_id) DO UPDATE SET quantity = 1`,
		"VACUUM ANALYZE")
}

// bareOrder is what makes an order, statement for statement, and no more: no HTTP, no JSON, nobody told of it.
func (b *bench) bareOrder(ctx context.Context, statement string, user int64) error {
	connection, err := b.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer connection.Release()
	var batch pgx.Batch
	users := []int64{user}
	batch.Queue("BEGIN")
	batch.Queue("SET LOCAL plan_cache_mode = force_generic_plan")
	batch.Queue("SELECT id FROM carts WHERE user_id = ANY($1::bigint[]) ORDER BY id FOR UPDATE", users)
	batch.Queue(`SELECT p.id FROM carts k JOIN cart_items i ON i.cart_id = k.id
			JOIN products p ON p.id = i.product_id AND p.archived_at IS NULL
		WHERE k.user_id = ANY($1::bigint[]) ORDER BY p.id, i.id FOR UPDATE OF i FOR NO KEY UPDATE OF p`, users)
	items := 0
	batch.Queue(statement, users, []string{"123 Main St, City, Country"}, []string{""}, []string{""}, []time.Time{time.Now()}, []string{""}).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			items++
		}
		return rows.Err()
	})
	if err := connection.SendBatch(ctx, &batch).Close(); err != nil {
		return err
	}
	if items == 0 {
		return errors.New("the cart made no order")
	}
	_, err = connection.Exec(ctx, "COMMIT")
	return err
}
