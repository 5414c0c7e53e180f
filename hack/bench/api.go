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
)

// bench is a shop with one server under load, and what it is compared with.
type bench struct {
	*shop

	rows [][]string
}

// benchAPI measures each hot path of the API beside its bare ceiling.
func benchAPI(ctx context.Context) error {
	shop, err := openShop(ctx, benchUsers)
	defer shop.close()
	if err != nil {
		return err
	}
	b := &bench{shop: shop, rows: [][]string{{"path", "per second", "p50", "p99", "ceiling", "of it"}}}
	if err := b.run(ctx, addProducts(benchProducts)...); err != nil {
		return err
	}
	if err := b.start(ctx, "SHOP_ROLES=api", "SHOP_RATE_LIMITS=user=1000000/s,anonymous=1000000/s"); err != nil {
		return err
	}
	if err := b.measure(ctx); err != nil {
		return errors.Join(err, printTable(b.rows...))
	}
	return printTable(b.rows...)
}

// addProducts fills the catalogue.
func addProducts(products int) []string {
	return []string{
		fmt.Sprintf(`INSERT INTO categories (name, name_key, slug, created_at, updated_at)
			SELECT 'Category ' || n, 'category ' || n, 'c' || n, now(), now() FROM generate_series(1, %d) n`, benchCategories),
		fmt.Sprintf(`INSERT INTO products (name, description, price_cents, stock, category_id, image, featured, search_text, created_at, updated_at)
			SELECT 'Product ' || n, 'What is number ' || n || ' good for?', 100 + n * 7919 %% 99000, 1000000, 1 + n %% %d, 'https://example.com/' || n || '.jpg', n %% 10 = 0,
				'product ' || n || chr(10) || 'what is number ' || n || ' good for?', now() - n * interval '1 second', now() FROM generate_series(1, %d) n`, benchCategories, products),
		"VACUUM ANALYZE",
	}
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

func (b *bench) measure(ctx context.Context) error {
	ceiling, err := b.fiber(ctx)
	if err != nil {
		return err
	}
	cold, err := b.bareList(ctx)
	if err != nil {
		return err
	}
	random := func() int { return rand.IntN(1 << 30) } //nolint:gosec // any numbers will do
	get := func(path string) func(worker, call int) []byte {
		return func(worker, _ int) []byte { return request(http.MethodGet, path, b.tokens[1+worker], "") }
	}
	for _, path := range []struct {
		name    string
		ceiling result
		request func(worker, call int) []byte
		status  int
	}{
		{"list, warm", ceiling, get("/api/products/"), http.StatusOK},
		{"list, another filter each time", cold, func(worker, _ int) []byte {
			path := fmt.Sprintf("/api/products/?category=%d&price_min=%d.%02d", 1+random()%benchCategories, random()%500, random()%100)
			return request(http.MethodGet, path, b.tokens[1+worker], "")
		}, http.StatusOK},
		{"list, another search each time", result{}, func(worker, _ int) []byte {
			return request(http.MethodGet, fmt.Sprintf("/api/products/?search=number+%d", random()%benchProducts), b.tokens[1+worker], "")
		}, http.StatusOK},
		{"detail, warm", ceiling, get("/api/products/77/"), http.StatusOK},
		{"cart, add", result{}, func(_, call int) []byte {
			return request(http.MethodPost, "/api/cart/items/", b.tokens[1+call%benchUsers], fmt.Sprintf(`{"product_id":%d}`, 1+random()%5+10*(call%100)))
		}, http.StatusCreated},
		{"cart, read", result{}, func(_, call int) []byte {
			return request(http.MethodGet, "/api/cart/", b.tokens[1+call%benchUsers], "")
		}, http.StatusOK},
	} {
		measured, err := b.api(ctx, 0, path.request, path.status)
		if err != nil {
			return fmt.Errorf("%s: %w", path.name, err)
		}
		b.note(path.name, measured, path.ceiling)
	}
	if err := b.whileOrdering(ctx, ceiling, get("/api/products/")); err != nil {
		return err
	}
	if err := b.orders(ctx); err != nil {
		return err
	}
	b.rows = append(b.rows, []string{"memory of the server, at most", fmt.Sprintf("%d MB", b.pods[0].status("VmHWM")>>10)})
	return nil
}

func (b *bench) note(name string, measured, ceiling result) {
	row := []string{
		name, fmt.Sprintf("%.0f", measured.rate()),
		measured.percentile(50).Round(10 * time.Microsecond).String(), measured.percentile(99).Round(10 * time.Microsecond).String(), "-", "-",
	}
	if ceiling.requests > 0 {
		row[4] = fmt.Sprintf("%.0f", ceiling.rate())
		row[5] = fmt.Sprintf("%.0f%%", 100*measured.rate()/ceiling.rate())
	}
	b.rows = append(b.rows, row)
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

// bareList is the ceiling of a list that is not ready: its query alone.
func (b *bench) bareList(ctx context.Context) (result, error) {
	const query = `SELECT p.id, p.name, p.price_cents, p.stock, c.name, p.image, p.stock > 0, p.featured
		FROM products p JOIN categories c ON c.id = p.category_id
		WHERE p.archived_at IS NULL AND p.category_id = $1 AND p.price_cents >= $2 ORDER BY p.created_at DESC, p.id DESC LIMIT 20`
	return load(ctx, 0, func(ctx context.Context, _, _ int) error {
		rows, err := b.pool.Query(ctx, query, 1+rand.IntN(benchCategories), rand.IntN(50_000)) //nolint:gosec // any numbers will do
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, price, stock int64
			var name, category, image string
			var inStock, featured bool
			if err := rows.Scan(&id, &name, &price, &stock, &category, &image, &inStock, &featured); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// whileOrdering measures the warm list while orders change stocks.
func (b *bench) whileOrdering(ctx context.Context, ceiling result, list func(worker, call int) []byte) error {
	ordering, stop := context.WithCancel(ctx)
	defer stop()
	all, err := clients(ctx, b.pods[0].api)
	if err != nil {
		return err
	}
	defer closeAll(all)
	var made atomic.Int64
	var everybody sync.WaitGroup
	ticker := time.NewTicker(time.Second / ordersASecond)
	defer ticker.Stop()
	for n := range orderers {
		everybody.Go(func() {
			for count := n; ; count += orderers {
				select {
				case <-ordering.Done():
					return
				case <-ticker.C:
				}
				token := b.tokens[1+count%benchUsers]
				add := request(http.MethodPost, "/api/cart/items/", token, fmt.Sprintf(`{"product_id":%d}`, 1+count%20)) // of the first page
				if all[n].do(add, http.StatusCreated) != nil || all[n].do(request(http.MethodPost, "/api/orders/", token, orderBody), http.StatusCreated) != nil {
					return
				}
				made.Add(1)
			}
		})
	}
	measured, err := b.api(ctx, 0, list, http.StatusOK)
	stop()
	everybody.Wait()
	b.note(fmt.Sprintf("list, warm, with %.0f orders/s", float64(made.Load())/measured.took.Seconds()), measured, ceiling)
	return err
}

const orderBody = `{"shipping_address":"123 Main St, City, Country"}`

// orders measures orders beside the same statements without the server.
func (b *bench) orders(ctx context.Context) error {
	if err := b.fillCarts(ctx); err != nil {
		return err
	}
	measured, err := b.api(ctx, benchUsers, func(_, call int) []byte {
		return request(http.MethodPost, "/api/orders/", b.tokens[1+call], orderBody)
	}, http.StatusCreated)
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	if err := b.fillCarts(ctx); err != nil {
		return err
	}
	bare, err := load(ctx, benchUsers, func(ctx context.Context, _, call int) error { return b.bareOrder(ctx, int64(call+1)) })
	if err != nil {
		return fmt.Errorf("bare order: %w", err)
	}
	b.note("order", measured, bare)
	return nil
}

// fillCarts puts two products into every cart.
func (b *bench) fillCarts(ctx context.Context) error {
	_, err := b.pool.Exec(ctx, `WITH emptied AS (DELETE FROM cart_items)
		INSERT INTO cart_items (cart_id, product_id, quantity) SELECT c.id, 5000 + (c.id * 37 + n * 1000) % 4000, 1
		FROM carts c, generate_series(1, 2) n ON CONFLICT (cart_id, product_id) DO UPDATE SET quantity = 1`)
	if err != nil {
		return fmt.Errorf("fill the carts: %w", err)
	}
	return nil
}

// bareOrder is the transaction of an order, statement for statement.
func (b *bench) bareOrder(ctx context.Context, user int64) error {
	return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		var cart, order, event int64
		if err := tx.QueryRow(ctx, "SELECT id FROM carts WHERE user_id = $1 FOR UPDATE", user).Scan(&cart); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "DELETE FROM cart_items WHERE cart_id = $1 RETURNING product_id", cart)
		if err != nil {
			return err
		}
		products, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		for _, product := range products {
			var name, category string
			var price int64
			if err := tx.QueryRow(ctx, `UPDATE products SET stock = stock - 1 WHERE id = $1 AND stock >= 1 AND archived_at IS NULL
				RETURNING name, price_cents, (SELECT c.name FROM categories c WHERE c.id = products.category_id)`, product).Scan(&name, &price, &category); err != nil {
				return err
			}
		}
		if err := tx.QueryRow(ctx, `INSERT INTO orders (user_id, status, total_cents, shipping_address, created_at, updated_at)
			VALUES ($1, 'pending', 1, 'home', now(), now()) RETURNING id`, user).Scan(&order); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO order_items (order_id, product_id, product_name, category_name, price_cents, quantity)
			SELECT $1, unnest($2::bigint[]), 'name', 'category', 1, 1`, order, products); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO order_history (order_id, status, at, by_user) VALUES ($1, 'pending', now(), $2)", order, user); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `INSERT INTO notification_counters (user_id, last_event_id) VALUES ($1, 1)
			ON CONFLICT (user_id) DO UPDATE SET last_event_id = notification_counters.last_event_id + 1 RETURNING last_event_id`, user).Scan(&event); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO notification_events (user_id, event_id, frame, created_at) VALUES ($1, $2, '{}', now())", user, event)
		return err
	})
}
