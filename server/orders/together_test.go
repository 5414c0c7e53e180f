package orders_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
)

const turns = 4 // that orders have, and orders that share one

// queue is a shop all of whose turns are taken, by orders of product 1, until it is opened.
type queue struct {
	*shop

	open    func()
	waiting int
	answers sync.WaitGroup
}

func newQueue(t *testing.T) *queue {
	q := &queue{shop: openShop(t, databasetest.Open(t, databasetest.Migrated(t)))}
	holder := q.hold(t, 1)
	for range turns {
		buyer := q.buyer(t, 1, 1)
		q.answers.Go(func() { httpapitest.Has[view](t, buyer.Post("/api/orders/", home), http.StatusCreated) })
	}
	awaitLocks(t, holder, turns)
	q.open = func() {
		holder.Rollback()
		q.answers.Wait()
	}
	return q
}

// hold locks a product until the transaction ends.
func (s *shop) hold(t *testing.T, product int64) *gorm.DB {
	t.Helper()
	tx := s.db.WithContext(t.Context()).Begin()
	if err := tx.Exec("UPDATE products SET stock = stock WHERE id = ?", product).Error; err != nil {
		t.Fatal(err)
	}
	return tx
}

// buyer is a new customer with something in the cart.
func (s *shop) buyer(t *testing.T, product, quantity int64) *httpapitest.Client {
	t.Helper()
	buyer := s.server.Customer(databasetest.NewUser(t, s.db))
	put(t, buyer, product, quantity)
	return buyer
}

// lineUp lets a buyer order when all before wait, and gives the answer to check.
func (q *queue) lineUp(t *testing.T, buyer *httpapitest.Client, body string, check func(httpapitest.Answer)) {
	t.Helper()
	q.answers.Go(func() { check(buyer.Post("/api/orders/", body)) })
	q.awaitNext(t)
}

func (q *queue) awaitNext(t *testing.T) {
	t.Helper()
	q.waiting++
	for range 1000 {
		if q.orders.Waiting() == q.waiting {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d orders wait, want %d", q.orders.Waiting(), q.waiting)
}

// transactions is in how many the orders of a product were made.
func (s *shop) transactions(t *testing.T, product int64) int64 {
	t.Helper()
	return s.one(t, "SELECT count(DISTINCT CAST(o.xmin AS text)) FROM orders o JOIN order_items i ON i.order_id = o.id WHERE i.product_id = ?", product)
}

func made(t *testing.T) func(httpapitest.Answer) {
	return func(answer httpapitest.Answer) { httpapitest.Has[view](t, answer, http.StatusCreated) }
}

func refused(t *testing.T, status int, body string) func(httpapitest.Answer) {
	return func(answer httpapitest.Answer) { answer.Is(t, status, body) }
}

// Orders that wait are made together, and each is its customer's own.
func TestOrdersThatWaitAreMadeTogether(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.change(t, "UPDATE products SET stock = 50 WHERE id <> 1")
	for n := range 2 * turns {
		user := databasetest.NewUser(t, q.db)
		buyer := q.server.Customer(user)
		put(t, buyer, 2, int64(1+n%3))
		put(t, buyer, int64(3+n), 1)
		body := fmt.Sprintf(`{"shipping_address":"Main St %d","phone_number":"%d","notes":"for %d"}`, n, n, n)
		q.lineUp(t, buyer, body, func(answer httpapitest.Answer) {
			order := httpapitest.Has[struct {
				view

				ShippingAddress string `json:"shipping_address"`
				PhoneNumber     string `json:"phone_number"`
				Notes           string
			}](t, answer, http.StatusCreated)
			if order.ShippingAddress != fmt.Sprintf("Main St %d", n) || order.PhoneNumber != fmt.Sprint(n) || order.Notes != fmt.Sprintf("for %d", n) ||
				len(order.Items) != 2 || order.Items[0].Product.ID != 2 || order.Items[0].Quantity != int64(1+n%3) || order.Items[1].Product.ID != int64(3+n) {
				t.Errorf("order %d: %s", n, answer.Body)
			}
			buyer.Get(path(order.ID, "")).Is(t, http.StatusOK, answer.Body)
			if owner := q.one(t, "SELECT user_id FROM orders WHERE id = ?", order.ID); owner != user {
				t.Errorf("order %d is that of user %d, want %d", n, owner, user)
			}
		})
	}
	q.open()
	if got := q.transactions(t, 2); got != 2 {
		t.Errorf("%d orders that waited were made in %d transactions, want 2", 2*turns, got)
	}
	q.checkNotifications(t)
}

// If there is not enough for all that would be made together, some get it; and whoever's cart makes no order harms no
// other.
func TestOrdersThatFailHarmNoneBesides(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.change(t, "UPDATE products SET stock = 3 WHERE id = 2")
	var outcomes sync.Map
	for n := range turns {
		q.lineUp(t, q.buyer(t, 2, 1), home, func(answer httpapitest.Answer) { outcomes.Store(n, answer) })
	}
	for range turns - 1 {
		q.lineUp(t, q.buyer(t, 3, 1), home, made(t))
	}
	q.lineUp(t, q.server.Customer(databasetest.NewUser(t, q.db)), home, refused(t, http.StatusBadRequest, emptyCart))
	q.open()
	var name string
	if err := q.db.WithContext(t.Context()).Raw("SELECT name FROM products WHERE id = 2").Scan(&name).Error; err != nil {
		t.Fatal(err)
	}
	sold := 0
	for _, outcome := range outcomes.Range {
		answer, _ := outcome.(httpapitest.Answer)
		if answer.Status == http.StatusCreated {
			sold++
			continue
		}
		answer.Is(t, http.StatusBadRequest, `{"error":"Insufficient stock for `+name+`"}`)
	}
	if left := q.one(t, "SELECT stock FROM products WHERE id = 2"); sold != 3 || left != 0 {
		t.Errorf("of 3 units %d were sold and %d are left", sold, left)
	}
	if got := q.transactions(t, 3); got != 1 {
		t.Errorf("the orders beside carts that make none were made in %d transactions, want 1", got)
	}
	q.checkNotifications(t)
}

// Of two orders of one cart the second finds it empty, also when both wait.
func TestACartIsOrderedOnceAmongThoseThatWait(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.change(t, "UPDATE products SET stock = 30 WHERE id = 2")
	buyer := q.buyer(t, 2, 2)
	q.lineUp(t, buyer, home, made(t))
	q.lineUp(t, buyer, home, refused(t, http.StatusBadRequest, emptyCart))
	q.open()
	if left := q.one(t, "SELECT stock FROM products WHERE id = 2"); left != 28 {
		t.Errorf("%d of 30 are left", left)
	}
	q.checkNotifications(t)
}

// An order that is out of time is none, and those that it would have been made with are made without it.
func TestOrdersAreMadeWithoutThoseOutOfTime(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	holder := q.hold(t, 2)
	hurried := databasetest.NewUser(t, q.db)
	put(t, q.server.Customer(hurried), 2, 1)
	late := time.Now().Add(2 * time.Second)
	q.answers.Go(func() {
		ctx, cancel := context.WithDeadline(t.Context(), late)
		defer cancel()
		if err := q.orders.OrderOf(ctx, hurried); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the order out of time gets %v", err)
		}
	})
	q.awaitNext(t)
	for range turns - 1 {
		q.lineUp(t, q.buyer(t, 2, 1), home, made(t))
	}
	q.answers.Go(func() {
		time.Sleep(time.Until(late.Add(100 * time.Millisecond)))
		holder.Rollback()
	})
	q.open()
	if orders, items := q.one(t, "SELECT count(*) FROM orders WHERE user_id = ?", hurried), q.one(t, "SELECT count(*) FROM cart_items"); orders != 0 || items != 1 {
		t.Errorf("the customer has %d orders, and %d items are in carts", orders, items)
	}
	if sold := q.one(t, "SELECT count(*) FROM order_items WHERE product_id = 2"); sold != turns-1 {
		t.Errorf("%d orders were made, want %d", sold, turns-1)
	}
}

// One whose commit is refused is none, and those that it would have been made with are made without it.
func TestOrdersAreMadeWithoutThoseThatAreRefused(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.onCommit(t, "RAISE 'no' USING ERRCODE = 'disk_full'")
	q.lineUp(t, q.buyer(t, 2, 1), home, func(answer httpapitest.Answer) {
		httpapitest.Has[struct{}](t, answer, http.StatusServiceUnavailable)
	})
	for range turns - 1 {
		q.lineUp(t, q.buyer(t, 3, 1), home, made(t))
	}
	q.open()
	if sold := q.one(t, "SELECT count(*) FROM order_items WHERE product_id IN (2, 3)"); sold != turns-1 {
		t.Errorf("%d orders were made, want %d", sold, turns-1)
	}
	q.checkNotifications(t)
}

// When nobody knows whether orders were made, they are not made a second time.
func TestOrdersWhoseCommitIsNotAnsweredAreNotRepeated(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.change(t, "CREATE SEQUENCE commits")
	q.onCommit(t, "PERFORM nextval('commits'), pg_terminate_backend(pg_backend_pid())")
	for range turns {
		q.lineUp(t, q.buyer(t, 2, 1), home, func(answer httpapitest.Answer) {
			httpapitest.Has[struct{}](t, answer, http.StatusServiceUnavailable)
		})
	}
	q.open()
	if commits := q.one(t, "SELECT last_value FROM commits"); commits != 1 {
		t.Errorf("the backend died in %d commits, want 1", commits)
	}
}

// onCommit has the commit of each order of product 2 do something.
func (s *shop) onCommit(t *testing.T, something string) {
	t.Helper()
	s.change(t, "CREATE FUNCTION on_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.product_id = 2 THEN "+something+"; END IF; RETURN NULL; END $$")
	s.change(t, "CREATE CONSTRAINT TRIGGER on_commit AFTER INSERT ON order_items DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION on_commit()")
}
