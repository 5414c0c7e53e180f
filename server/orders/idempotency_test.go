package orders_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
)

const (
	keyHeader = "Idempotency-Key"
	replayed  = "Idempotent-Replayed"
)

func TestAKeyRepeatsTheFirstAnswer(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		put(t, s.anna, 1, 2)
		anna := s.anna.With(keyHeader, "k-1")
		first := anna.Post("/api/orders/", home)
		httpapitest.Has[view](t, first, http.StatusCreated)
		put(t, s.anna, 2, 1)
		again := anna.Post("/api/orders/", home)
		again.Is(t, http.StatusCreated, first.Body)
		if first.Header.Get(replayed) != "" || again.Header.Get(replayed) != "true" {
			t.Errorf("replayed is %q at first, %q then", first.Header.Get(replayed), again.Header.Get(replayed))
		}
		if first.Header.Get("Content-Type") != again.Header.Get("Content-Type") {
			t.Error("the content types differ")
		}
		anna.Post("/api/orders/", `{"shipping_address":"elsewhere"}`).Is(t, http.StatusUnprocessableEntity,
			`{"error":"Idempotency-Key was used for a request with another body."}`)
		if n := s.one(t, "SELECT count(*) FROM orders"); n != 1 {
			t.Errorf("%d orders, want 1", n)
		}
		// Another key, and another user's same key, are other requests.
		httpapitest.Has[view](t, s.anna.With(keyHeader, "k-2").Post("/api/orders/", home), http.StatusCreated)
		bert := s.server.Customer(databasetest.NewUser(t, s.db)).With(keyHeader, "k-1")
		put(t, bert, 3, 1)
		if other := bert.Post("/api/orders/", home); other.Status != http.StatusCreated || other.Header.Get(replayed) != "" {
			t.Errorf("another user's key gives %d %s", other.Status, other.Body)
		}
	})
}

func TestARefusedOrderKeepsNoKey(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		anna := s.anna.With(keyHeader, "k")
		anna.Post("/api/orders/", home).Is(t, http.StatusBadRequest, emptyCart)
		httpapitest.Has[struct{}](t, anna.Post("/api/orders/", `{}`), http.StatusBadRequest)
		if n := s.one(t, "SELECT count(*) FROM order_keys"); n != 0 {
			t.Errorf("%d keys are kept", n)
		}
		put(t, s.anna, 1, 1)
		httpapitest.Has[view](t, anna.Post("/api/orders/", home), http.StatusCreated)
	})
}

func TestOneOrderForOneKeyAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		put(t, s.anna, 1, 3)
		anna := s.anna.With(keyHeader, "at-once")
		answers := atOnce(8, func(int) httpapitest.Answer { return anna.Post("/api/orders/", home) })
		again := 0
		for _, answer := range answers {
			answer.Is(t, http.StatusCreated, answers[0].Body)
			if answer.Header.Get(replayed) == "true" {
				again++
			}
		}
		if stock := s.one(t, "SELECT stock FROM products WHERE id = 1"); again != 7 || stock != 47 {
			t.Errorf("%d of 8 answers are repeated, %d left of 50", again, stock)
		}
	})
}

func TestKeysThatAreRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		put(t, s.anna, 1, 1)
		const refused = `{"error":"Idempotency-Key must be one value of 1 to 255 printable ASCII characters."}`
		for _, key := range []string{"", "a b", "ü", strings.Repeat("k", 256)} {
			s.anna.With(keyHeader, key).Post("/api/orders/", home).Is(t, http.StatusBadRequest, refused)
		}
		s.anna.With(keyHeader, "a").With(keyHeader, "b").Post("/api/orders/", home).Is(t, http.StatusBadRequest, refused)
		httpapitest.Has[view](t, s.anna.With(keyHeader, strings.Repeat("k", 255)).Post("/api/orders/", home), http.StatusCreated)
	})
}

func TestKeysAreForgottenAfterADay(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		order := func(key string) httpapitest.Answer {
			put(t, s.anna, 1, 1)
			return s.anna.With(keyHeader, key).Post("/api/orders/", home)
		}
		first := order("old")
		s.change(t, "UPDATE order_keys SET created_at = ?", database.Now().Add(-24*time.Hour+time.Minute))
		if again := order("old"); again.Body != first.Body {
			t.Errorf("within the day the key answers %d %s", again.Status, again.Body)
		}
		s.change(t, "UPDATE order_keys SET created_at = ?", database.Now().Add(-24*time.Hour-time.Second))
		if second := order("old"); second.Status != http.StatusCreated || second.Body == first.Body {
			t.Errorf("after a day the key answers %d %s", second.Status, second.Body)
		}
		old := database.Now().Add(-25 * time.Hour)
		for n := range 1203 { // more than two batches
			s.change(t, "INSERT INTO order_keys (user_id, key, body_hash, answer, created_at) VALUES (?, ?, '', '', ?)", s.annaID, fmt.Sprint("x", n), old)
		}
		if deleted, err := s.orders.Sweep(t.Context()); err != nil || deleted != 1203 {
			t.Errorf("swept %d, %v; want 1203", deleted, err)
		}
		if n := s.one(t, "SELECT count(*) FROM order_keys"); n != 1 {
			t.Errorf("%d keys are left, want the fresh one", n)
		}
	})
}
