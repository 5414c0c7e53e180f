package orders_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

// atOnce makes n requests at the same time and returns their answers.
func atOnce(n int, request func(n int) httpapitest.Answer) []httpapitest.Answer {
	answers := make([]httpapitest.Answer, n)
	var everybody sync.WaitGroup
	for i := range n {
		everybody.Go(func() { answers[i] = request(i) })
	}
	everybody.Wait()
	return answers
}

// withStatus counts the answers of one status.
func withStatus(answers []httpapitest.Answer, status int) (count int) {
	for _, answer := range answers {
		if answer.Status == status {
			count++
		}
	}
	return count
}

func TestACartIsOrderedOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		put(t, s.anna, 1, 1)
		put(t, s.anna, 2, 1)
		answers := atOnce(8, func(int) httpapitest.Answer { return s.anna.Post("/api/orders/", home) })
		for _, answer := range answers {
			if answer.Status != http.StatusCreated {
				answer.Is(t, http.StatusBadRequest, emptyCart)
			}
		}
		if made, stock := withStatus(answers, http.StatusCreated), s.one(t, "SELECT stock FROM products WHERE id = 1"); made != 1 || stock != 49 {
			t.Errorf("one cart made %d orders and left %d of 50 in stock", made, stock)
		}
	})
}

// Of changes that exclude one another one wins, and the others change nothing.
func TestOneStatusChangeWins(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for range 5 {
			id := buy(t, s.anna, 1, 2)
			s.published.take(s.annaID)
			answers := atOnce(6, func(n int) httpapitest.Answer {
				if n%2 == 0 {
					return s.anna.Post(path(id, "cancel/"), "")
				}
				return s.staff.Do(patch, path(id, "status/"), `{"status":"shipped"}`)
			})
			for _, answer := range answers {
				if answer.Status != http.StatusOK && (answer.Status != http.StatusBadRequest || !strings.HasPrefix(answer.Body, `{"status":["`)) {
					t.Errorf("got %d %s", answer.Status, answer.Body)
				}
			}
			steps := s.one(t, "SELECT count(*) FROM order_history WHERE order_id = ?", id)
			if wins, frames := withStatus(answers, http.StatusOK), s.published.take(s.annaID); wins != 1 || steps != 2 || len(frames) != 1 {
				t.Errorf("%d changes won, the history has %d steps, published %q", wins, steps, frames)
			}
		}
	})
}

func TestACancelReturnsStockOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		id := buy(t, s.anna, 1, 7)
		answers := atOnce(8, func(int) httpapitest.Answer { return s.anna.Post(path(id, "cancel/"), "") })
		if wins, stock := withStatus(answers, http.StatusOK), s.one(t, "SELECT stock FROM products WHERE id = 1"); wins != 1 || stock != 50 {
			t.Errorf("%d of 8 cancels won and %d are in stock, want 1 and 50", wins, stock)
		}
	})
}

// plan is what one of many buyers does, beside all others.
type plan struct {
	lines  [][2]int64 // product id, quantity
	cancel bool
}

// Many buyers of few units, each with products in another order, some of whom change their mind: what is
// sold and what is left is what there was, every order adds up, every refusal is a documented one, and each
// customer is told of exactly what was committed.
func TestNothingIsSoldTwice(t *testing.T) {
	const buyers, kinds = 8, 4
	line := rapid.Custom(func(r *rapid.T) [2]int64 {
		return [2]int64{rapid.Int64Range(1, kinds).Draw(r, "product"), rapid.Int64Range(1, 3).Draw(r, "quantity")}
	})
	plans := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) plan {
		return plan{lines: rapid.SliceOfN(line, 1, 5).Draw(r, "lines"), cancel: rapid.IntRange(0, 3).Draw(r, "cancel") == 0}
	}), buyers, buyers)
	forEachEngine(t, func(t *testing.T, s *shop) {
		var users []int64
		for range buyers {
			users = append(users, databasetest.NewUser(t, s.db))
		}
		rapid.Check(t, func(r *rapid.T) {
			stock := rapid.Int64Range(0, 12).Draw(r, "stock")
			s.change(t, "UPDATE products SET stock = ? WHERE id <= ?", stock, kinds)
			last := s.one(t, "SELECT coalesce(max(id), 0) FROM orders")
			run(t, s, users, plans.Draw(r, "plans"))
			s.checkBooks(r, last, stock, kinds)
		})
		s.checkNotifications(t)
	})
}

// run lets every buyer do as planned at once.
func run(t *testing.T, s *shop, users []int64, plans []plan) {
	var everybody sync.WaitGroup
	for n, plan := range plans {
		everybody.Go(func() {
			buyer := s.server.Customer(users[n])
			for _, line := range plan.lines {
				added := buyer.Post("/api/cart/items/", fmt.Sprintf(`{"product_id":%d,"quantity":%d}`, line[0], line[1]))
				if added.Status != http.StatusCreated {
					added.Is(t, http.StatusBadRequest, `{"error":"Insufficient stock"}`)
				}
			}
			ordered := buyer.Post("/api/orders/", home)
			switch {
			case ordered.Status == http.StatusCreated && plan.cancel:
				id := httpapitest.Has[view](t, ordered, http.StatusCreated).ID
				httpapitest.Has[view](t, buyer.Post(path(id, "cancel/"), ""), http.StatusOK)
			case ordered.Status == http.StatusBadRequest && strings.HasPrefix(ordered.Body, `{"error":"Insufficient stock for `):
				httpapitest.Has[struct{}](t, buyer.Do(http.MethodDelete, "/api/cart/", ""), http.StatusOK)
			case ordered.Status != http.StatusCreated:
				ordered.Is(t, http.StatusBadRequest, emptyCart)
			}
		})
	}
	everybody.Wait()
}

// checkBooks compares stock and orders after the given one.
func (s *shop) checkBooks(r *rapid.T, last, stock, kinds int64) {
	var products []struct{ ID, Stock, Sold int64 }
	if err := s.db.WithContext(context.Background()).Raw(`SELECT p.id, p.stock, (SELECT coalesce(sum(i.quantity), 0) FROM order_items i
			JOIN orders o ON o.id = i.order_id WHERE i.product_id = p.id AND o.id > ? AND o.status <> 'cancelled') AS sold
		FROM products p WHERE p.id <= ?`, last, kinds).Scan(&products).Error; err != nil {
		r.Fatal(err)
	}
	for _, p := range products {
		if p.Stock < 0 || p.Stock+p.Sold != stock {
			r.Fatalf("of product %d there were %d, are left %d, are sold %d", p.ID, stock, p.Stock, p.Sold)
		}
	}
	var wrong []int64
	if err := s.db.WithContext(context.Background()).Raw(`SELECT o.id FROM orders o WHERE o.id > ? AND o.total_cents <>
		(SELECT coalesce(sum(i.price_cents * i.quantity), -1) FROM order_items i WHERE i.order_id = o.id)`, last).Scan(&wrong).Error; err != nil {
		r.Fatal(err)
	}
	if len(wrong) > 0 {
		r.Fatalf("the totals of orders %v are not the sums of their lines", wrong)
	}
}

// checkNotifications compares the steps of all orders with the events recorded and published for them.
func (s *shop) checkNotifications(t *testing.T) {
	t.Helper()
	var published []string
	for _, event := range s.published.events {
		published = append(published, fmt.Sprintf("%d/%d %s", event.UserID, event.EventID, event.Frame))
	}
	var recorded []string
	if err := s.db.WithContext(t.Context()).Raw("SELECT user_id || '/' || event_id || ' ' || frame FROM notification_events").Scan(&recorded).Error; err != nil {
		t.Fatal(err)
	}
	slices.Sort(published)
	slices.Sort(recorded)
	if steps := s.one(t, "SELECT count(*) FROM order_history"); steps == 0 || int64(len(recorded)) != steps || !slices.Equal(published, recorded) {
		t.Errorf("%d steps of orders, %d events recorded, %d published", steps, len(recorded), len(published))
	}
}

// Staff delete products that customers are just putting into their carts and ordering: whoever comes late
// gets a documented answer, and what was ordered is kept.
func TestProductsAreDeletedWhileTheyAreOrdered(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		const buyers, products = 4, 7 // all in stock
		var users []int64
		for range buyers {
			users = append(users, databasetest.NewUser(t, s.db))
		}
		for product := int64(1); product <= products; product++ {
			answers := atOnce(buyers+1, func(n int) httpapitest.Answer {
				if n == buyers {
					return s.staff.Do(http.MethodDelete, fmt.Sprintf("/api/products/%d/", product), "")
				}
				buyer := s.server.Customer(users[n])
				added := buyer.Post("/api/cart/items/", fmt.Sprintf(`{"product_id":%d}`, product))
				if added.Status != http.StatusCreated && (added.Status != http.StatusBadRequest || added.Body != `{"error":"Insufficient stock"}`) {
					added.Is(t, http.StatusNotFound, `{"error":"Product not found"}`)
				}
				return buyer.Post("/api/orders/", home)
			})
			sold := withStatus(answers, http.StatusCreated)
			if empty := withStatus(answers, http.StatusBadRequest); sold+empty != buyers || answers[buyers].Status != http.StatusNoContent {
				t.Errorf("product %d: %+v", product, answers)
			}
			kept := s.one(t, "SELECT count(*) FROM products WHERE id = ? AND archived_at IS NOT NULL", product)
			if items := s.one(t, "SELECT count(*) FROM order_items WHERE product_id = ?", product); int(items) != sold || (kept == 1) != (sold > 0) {
				t.Errorf("product %d was sold %d times, %d orders have it, kept: %d", product, sold, items, kept)
			}
		}
	})
}

// The total of an order is exact whatever is in it.
func TestAnOrdersTotalIsTheSumOfItsLines(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		rapid.Check(t, func(r *rapid.T) {
			var want money.Total
			for id := int64(1); id <= 3; id++ {
				price := money.Amount(rapid.Int64Range(0, int64(money.Max)).Draw(r, "price"))
				quantity := rapid.Int64Range(1, 100_000_000).Draw(r, "quantity")
				s.change(t, "UPDATE products SET price_cents = ?, stock = 100000000 WHERE id = ?", price, id)
				put(t, s.anna, id, quantity)
				want = want.Plus(price, quantity)
			}
			if order := httpapitest.Has[view](t, s.anna.Post("/api/orders/", home), http.StatusCreated); order.TotalAmount != want.String() {
				r.Fatalf("%+v, want a total of %s", order, want)
			}
		})
	})
}

// An order whose time is up while it waits for others is none, also once it could go on.
func TestAnOrderOutOfTimeHasNoEffect(t *testing.T) {
	s := openShop(t, databasetest.Open(t, databasetest.Migrated(t)))
	put(t, s.anna, 1, 1)
	before := s.state(t)
	err := s.db.InTx(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE products SET stock = stock WHERE id = 1").Error; err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		return s.orders.OrderOf(ctx, s.annaID)
	})
	if !errors.Is(err, context.DeadlineExceeded) && !database.IsUnavailable(err) {
		t.Errorf("the order that waits gets %v", err)
	}
	s.change(t, "UPDATE products SET stock = stock WHERE id = 1") // after whatever still waits for the lock
	if after := s.state(t); after != before {
		t.Errorf("it changed %s\ninto %s", before, after)
	}
	buy(t, s.anna, 1, 1)
}

// Orders that wait for a product do not keep others from the database.
func TestWaitingOrdersLeaveConnections(t *testing.T) {
	s := openShop(t, databasetest.Open(t, databasetest.Migrated(t)))
	const buyers = 30 // more than there are connections
	var users []int64
	for range buyers {
		users = append(users, databasetest.NewUser(t, s.db))
		put(t, s.server.Customer(users[len(users)-1]), 1, 1)
	}
	var ordered sync.WaitGroup
	err := s.db.InTx(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE products SET stock = stock WHERE id = 1").Error; err != nil {
			return err
		}
		for _, user := range users {
			ordered.Go(func() {
				httpapitest.Has[struct{}](t, s.server.Customer(user).Post("/api/orders/", home), http.StatusCreated)
			})
		}
		awaitLocks(t, tx, 4)
		for range 20 {
			httpapitest.Has[struct{}](t, s.anna.Get("/api/cart/"), http.StatusOK)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ordered.Wait()
	if left := s.one(t, "SELECT stock FROM products WHERE id = 1"); left != 50-buyers {
		t.Errorf("%d left of 50 after %d were sold", left, buyers)
	}
}

// awaitLocks returns when so many statements wait for a lock.
func awaitLocks(t *testing.T, tx *gorm.DB, count int) {
	t.Helper()
	for range 1000 {
		waiting := 0
		err := tx.Exec("SELECT pg_stat_clear_snapshot()").
			Raw("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting).Error
		if err != nil {
			t.Fatal(err)
		}
		if waiting >= count {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("there are no %d statements that wait for a lock", count)
}
