package orders_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/jackc/pgx/v5"

	"github.com/shopkeeper-dev/shopkeeper/server/cart"
	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
	"github.com/shopkeeper-dev/shopkeeper/server/orders"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
)

func TestMain(m *testing.M) {
	// A step of a property is a request to a real database: the usual 100 runs would take long.
	if err := flag.Set("rapid.checks", "8"); err != nil {
		panic(err)
	}
	databasetest.Main(m)
}

const (
	missing   = `{"error":"Not found."}`
	emptyCart = `{"error":"Cart is empty"}`
	patch     = http.MethodPatch
	home      = `{"shipping_address":"123 Main St, City, Country"}`
)

// shop is a demo catalogue with carts and orders.
type shop struct {
	db        *database.DB
	server    *httpapitest.Server
	published *recorder
	orders    *orders.Orders

	anna, staff     *httpapitest.Client
	annaID, staffID int64
}

func forEachEngine(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) { test(t, openShop(t, db)) })
}

func openShop(t *testing.T, db *database.DB) *shop {
	t.Helper()
	products := catalog.New(db)
	if _, err := products.SeedDemo(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &shop{db: db, published: &recorder{}, annaID: databasetest.NewUser(t, db), staffID: databasetest.NewUser(t, db)}
	carts := cart.New(db, products)
	bought := orders.New(db, products, carts, s.published)
	s.orders = bought
	s.server = httpapitest.Serve(t, func(app *fiber.App) {
		app.Delete("/api/products/:id/", products.DeleteProduct)
		app.Get("/api/cart/", carts.Get)
		app.Delete("/api/cart/", carts.Clear)
		app.Post("/api/cart/items/", carts.AddItem)
		app.Get("/api/orders/", bought.List)
		app.Post("/api/orders/", bought.Create)
		app.Get("/api/orders/:id/", bought.Get)
		app.Post("/api/orders/:id/cancel/", bought.Cancel)
		app.Patch("/api/orders/:id/status/", httpapi.StaffOnly, bought.ChangeStatus)
	})
	s.anna, s.staff = s.server.Customer(s.annaID), s.server.Staff(s.staffID)
	return s
}

// recorder keeps what was published.
type recorder struct {
	mutex  sync.Mutex
	events []outbox.Event
}

// Publish keeps events.
func (r *recorder) Publish(_ context.Context, events ...outbox.Event) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.events = append(r.events, events...)
}

// take returns the frames of a user published since the last call, each after its event id.
func (r *recorder) take(userID int64) (frames []string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, event := range r.events {
		if event.UserID == userID {
			frames = append(frames, fmt.Sprintf("%d %s", event.EventID, event.Frame))
		}
	}
	r.events = nil
	return frames
}

// put puts a product into a client's cart.
func put(t testing.TB, client *httpapitest.Client, productID, quantity int64) {
	t.Helper()
	httpapitest.Has[struct{}](t, client.Post("/api/cart/items/", fmt.Sprintf(`{"product_id":%d,"quantity":%d}`, productID, quantity)), http.StatusCreated)
}

// buy orders one product and returns the order's id.
func buy(t testing.TB, client *httpapitest.Client, productID, quantity int64) int64 {
	t.Helper()
	put(t, client, productID, quantity)
	return httpapitest.Has[struct{ ID int64 }](t, client.Post("/api/orders/", home), http.StatusCreated).ID
}

func path(orderID int64, rest string) string { return fmt.Sprintf("/api/orders/%d/%s", orderID, rest) }

// change changes the database behind the shop's back.
func (s *shop) change(t testing.TB, statement string, arguments ...any) {
	t.Helper()
	if err := s.db.WithContext(context.Background()).Exec(statement, arguments...).Error; err != nil {
		t.Fatal(err)
	}
}

// one reads one number.
func (s *shop) one(t testing.TB, query string, arguments ...any) (number int64) {
	t.Helper()
	if err := s.db.WithContext(context.Background()).Raw(query, arguments...).Scan(&number).Error; err != nil {
		t.Fatal(err)
	}
	return number
}

// state is all that an order may change.
func (s *shop) state(t *testing.T) string {
	t.Helper()
	var all []any
	for _, query := range []string{
		"SELECT id, stock FROM products ORDER BY id", "SELECT * FROM cart_items ORDER BY id",
		"SELECT id, status, total_cents FROM orders ORDER BY id", "SELECT * FROM order_items ORDER BY id",
		"SELECT id, order_id, status, by_user FROM order_history ORDER BY id",
		"SELECT * FROM notification_counters ORDER BY user_id", "SELECT user_id, event_id, frame FROM notification_events ORDER BY user_id, event_id",
	} {
		var rows []map[string]any
		if err := s.db.WithContext(t.Context()).Raw(query).Scan(&rows).Error; err != nil {
			t.Fatal(err)
		}
		all = append(all, rows)
	}
	return fmt.Sprint(all...)
}

var moment = regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"`)

func withoutTimes(answer httpapitest.Answer) httpapitest.Answer {
	answer.Body = moment.ReplaceAllString(answer.Body, `"TIME"`)
	return answer
}

func TestTheDocumentedOrder(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		put(t, s.anna, 1, 2)
		const body = "{\n  \"shipping_address\": \"123 Main St, City, Country\",\n  \"phone_number\": \"+1234567890\",\n  \"notes\": \"Leave at door\"\n}"
		const rest = `"items":[{"id":1,"product":{"id":1,"name":"Smartphone Pro Max","price":"999.99","category_name":"Electronics"},` +
			`"quantity":2,"price":"999.99","total_price":"1999.98"}],"total_amount":"1999.98",` +
			`"shipping_address":"123 Main St, City, Country","phone_number":"+1234567890","notes":"Leave at door",` +
			`"created_at":"TIME","updated_at":"TIME","history":[{"status":"pending","at":"TIME","by":1}`
		const pending, shipped = `{"id":1,"status":"pending",` + rest + `]}`, `{"id":1,"status":"shipped",` + rest + `,{"status":"shipped","at":"TIME","by":2}]}`

		withoutTimes(s.anna.Post("/api/orders/", body)).Is(t, http.StatusCreated, pending)
		withoutTimes(s.anna.Get("/api/orders/1/")).Is(t, http.StatusOK, pending)
		withoutTimes(s.anna.Get("/api/orders/")).Is(t, http.StatusOK, `{"count":1,"next":null,"previous":null,"results":[`+pending+`]}`)
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, `{"id":1,"items":[],"total_price":"0.00","total_items":0}`)
		if left := s.one(t, "SELECT stock FROM products WHERE id = 1"); left != 48 {
			t.Errorf("%d left of 50 after two were sold", left)
		}
		withoutTimes(s.staff.Do(patch, "/api/orders/1/status/", `{"status":"shipped"}`)).Is(t, http.StatusOK, shipped)
		withoutTimes(s.anna.Get("/api/orders/1/")).Is(t, http.StatusOK, shipped)

		want := []string{"1 " + httpapitest.Golden(t, "order_notification.json"), "2 " + httpapitest.Golden(t, "order_status_update.json")}
		if got := s.published.take(s.annaID); !slices.Equal(got, want) {
			t.Errorf("published %q, want %q", got, want)
		}
		if recorded := s.one(t, "SELECT count(*) FROM notification_events WHERE user_id = ?", s.annaID); recorded != 2 {
			t.Errorf("%d events recorded, want both", recorded)
		}
	})
}

func TestAnOrderKeepsWhatWasSold(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		put(t, s.anna, 9, 3)
		put(t, s.anna, 3, 1)
		before := s.anna.Post("/api/orders/", home)
		s.change(t, "UPDATE products SET name = 'New', price_cents = 1, category_id = 1, archived_at = ?", database.Now())
		s.anna.Get("/api/orders/1/").Is(t, http.StatusOK, before.Body)
		if total := httpapitest.Has[struct {
			Total string `json:"total_amount"`
		}](t, before, http.StatusCreated).Total; total != "324.20" {
			t.Errorf("3 × 24.90 + 249.50 is %s", total)
		}
	})
}

func TestOrdersThatAreRefusedChangeNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.anna.Post("/api/orders/", home).Is(t, http.StatusBadRequest, emptyCart) // there is no cart at all yet
		s.anna.Get("/api/cart/")
		s.anna.Post("/api/orders/", home).Is(t, http.StatusBadRequest, emptyCart)

		put(t, s.anna, 2, 1)
		put(t, s.anna, 1, 2)
		put(t, s.anna, 3, 5)
		before := s.state(t)
		for body, want := range map[string]string{
			``:   `{"shipping_address":["This field is required."]}`,
			`{}`: `{"shipping_address":["This field is required."]}`,
			`{"shipping_address":" ","phone_number":null,"notes":[]}`: `{"notes":["Not a valid string."],"phone_number":["This field may not be null."],"shipping_address":["This field may not be blank."]}`,
			`{"shipping_address":"a\u0000b","phone_number":"` + strings.Repeat("1", 51) + `","notes":"` + strings.Repeat("ü", 10_001) + `"}`: `{"notes":["Ensure this field has no more than 10000 characters."],` +
				`"phone_number":["Ensure this field has no more than 50 characters."],"shipping_address":["Null characters are not allowed."]}`,
			`{"shipping_address":`: `{"error":"JSON parse error - unexpected end of the body"}`,
		} {
			s.anna.Post("/api/orders/", body).Is(t, http.StatusBadRequest, want)
		}
		if after := s.state(t); after != before {
			t.Errorf("a bad body changed %s\ninto %s", before, after)
		}

		s.change(t, "UPDATE products SET stock = 1 WHERE id = 1")
		before = s.state(t)
		s.anna.Post("/api/orders/", home).Is(t, http.StatusBadRequest, `{"error":"Insufficient stock for Smartphone Pro Max"}`)
		if after := s.state(t); after != before {
			t.Errorf("an order short of stock changed %s\ninto %s", before, after)
		}

		s.change(t, "UPDATE products SET stock = 2147483647, price_cents = 9999999999")
		s.change(t, "UPDATE cart_items SET quantity = 2147483647")
		before = s.state(t)
		s.anna.Post("/api/orders/", home).Is(t, http.StatusBadRequest, `{"error":"The order's total is too large"}`)
		if after := s.state(t); after != before {
			t.Errorf("an order too dear changed %s\ninto %s", before, after)
		}
		if frames := s.published.take(s.annaID); len(frames) != 0 {
			t.Errorf("published %q", frames)
		}
	})
}

// What is withdrawn from sale has left the cart: it is neither ordered nor in the way.
func TestAnArchivedProductIsNotOrdered(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		put(t, s.anna, 1, 1)
		s.change(t, "UPDATE products SET archived_at = ? WHERE id = 1", database.Now())
		s.anna.Post("/api/orders/", home).Is(t, http.StatusBadRequest, emptyCart)
		id := buy(t, s.anna, 3, 1)
		items := httpapitest.Has[view](t, s.anna.Get(path(id, "")), http.StatusOK).Items
		if len(items) != 1 || items[0].Product.ID != 3 {
			t.Errorf("ordered %+v, want product 3 alone", items)
		}
	})
}

// view is what the tests look at in an order.
type view struct {
	ID     int64
	Status string
	Items  []struct {
		Product  struct{ ID int64 }
		Quantity int64
		Price    string
	}
	TotalAmount string `json:"total_amount"`
	History     []struct {
		Status string
		By     int64
	}
}

func TestEveryStatusChange(t *testing.T) {
	allowed := map[string]string{
		"pending processing": "", "pending shipped": "", "pending cancelled": "",
		"processing shipped": "", "processing cancelled": "", "shipped delivered": "",
	}
	statuses := []string{"pending", "processing", "shipped", "delivered", "cancelled"}
	forEachEngine(t, func(t *testing.T, s *shop) {
		id := buy(t, s.anna, 1, 1)
		s.published.take(s.annaID)
		for _, from := range statuses {
			for _, to := range statuses {
				s.change(t, "UPDATE orders SET status = ? WHERE id = ?", from, id)
				steps := s.one(t, "SELECT count(*) FROM order_history")
				changed := s.staff.Do(patch, path(id, "status/"), fmt.Sprintf(`{"status":%q}`, to))
				frames := s.published.take(s.annaID)
				if _, ok := allowed[from+" "+to]; !ok {
					changed.Is(t, http.StatusBadRequest, fmt.Sprintf(`{"status":["Cannot change the status from %s to %s."]}`, from, to))
					if len(frames) != 0 || s.one(t, "SELECT count(*) FROM order_history") != steps {
						t.Errorf("%s → %s was refused and left a trace: %q", from, to, frames)
					}
					continue
				}
				got := httpapitest.Has[view](t, changed, http.StatusOK)
				if last := got.History[len(got.History)-1]; got.Status != to || last.Status != to || last.By != s.staffID {
					t.Errorf("%s → %s gives %+v", from, to, got)
				}
				want := fmt.Sprintf(`{"type":"order_status_update","order_id":%d,"old_status":%q,"new_status":%q,"message":"Order #%d status updated from %s to %s"}`, id, from, to, id, from, to)
				if len(frames) != 1 || !strings.HasSuffix(frames[0], " "+want) {
					t.Errorf("%s → %s published %q, want %s", from, to, frames, want)
				}
			}
		}
	})
}

func TestStatusChangesThatAreRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		id := buy(t, s.anna, 1, 1)
		before := s.state(t)
		for body, want := range map[string]string{
			``:                     `{"status":["This field is required."]}`,
			`{}`:                   `{"status":["This field is required."]}`,
			`{"status":null}`:      `{"status":["This field may not be null."]}`,
			`{"status":""}`:        `{"status":["This field may not be blank."]}`,
			`{"status":true}`:      `{"status":["Not a valid string."]}`,
			`{"status":"Lost"}`:    `{"status":["\"Lost\" is not a valid choice."]}`,
			`{"status":"Shipped"}`: `{"status":["\"Shipped\" is not a valid choice."]}`,
		} {
			s.staff.Do(patch, path(id, "status/"), body).Is(t, http.StatusBadRequest, want)
		}
		s.anna.Do(patch, path(id, "status/"), `{"status":"shipped"}`).Is(t, http.StatusForbidden, `{"error":"You do not have permission to perform this action."}`)
		s.staff.Do(patch, "/api/orders/99/status/", `{"status":"shipped"}`).Is(t, http.StatusNotFound, missing)
		s.staff.Do(patch, "/api/orders/x/status/", `{"status":"shipped"}`).Is(t, http.StatusNotFound, missing)
		if after := s.state(t); after != before {
			t.Errorf("a refused change changed %s\ninto %s", before, after)
		}
	})
}

func TestCancel(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		put(t, s.anna, 2, 4)
		id := buy(t, s.anna, 1, 3)
		if cancelled := httpapitest.Has[view](t, s.anna.Post(path(id, "cancel/"), ""), http.StatusOK); cancelled.Status != "cancelled" || cancelled.History[1].By != s.annaID {
			t.Errorf("cancelled is %+v", cancelled)
		}
		if first, second := s.one(t, "SELECT stock FROM products WHERE id = 1"), s.one(t, "SELECT stock FROM products WHERE id = 2"); first != 50 || second != 34 {
			t.Errorf("after the cancel %d and %d are in stock, want 50 and 34 again", first, second)
		}
		frames := s.published.take(s.annaID)
		if want := `2 {"type":"order_status_update","order_id":1,"old_status":"pending","new_status":"cancelled","message":"Order #1 status updated from pending to cancelled"}`; len(frames) != 2 || frames[1] != want {
			t.Errorf("published %q, want %s last", frames, want)
		}
		s.anna.Post(path(id, "cancel/"), "").Is(t, http.StatusBadRequest, `{"status":["Cannot change the status from cancelled to cancelled."]}`)

		id = buy(t, s.anna, 1, 1)
		s.staff.Do(patch, path(id, "status/"), `{"status":"processing"}`)
		if by := httpapitest.Has[view](t, s.staff.Post(path(id, "cancel/"), ""), http.StatusOK).History[2].By; by != s.staffID {
			t.Errorf("the history says that user %d cancelled, want staff", by)
		}
		id = buy(t, s.anna, 1, 1)
		s.staff.Do(patch, path(id, "status/"), `{"status":"shipped"}`)
		s.anna.Post(path(id, "cancel/"), "").Is(t, http.StatusBadRequest, `{"status":["Cannot change the status from shipped to cancelled."]}`)
	})
}

func TestAnotherCustomersOrderIsNotThere(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		bert := s.server.Customer(databasetest.NewUser(t, s.db))
		id := buy(t, s.anna, 1, 1)
		bert.Get(path(id, "")).Is(t, http.StatusNotFound, missing)
		bert.Post(path(id, "cancel/"), "").Is(t, http.StatusNotFound, missing)
		bert.Get("/api/orders/").Is(t, http.StatusOK, `{"count":0,"next":null,"previous":null,"results":[]}`)
		bert.Get(fmt.Sprintf("/api/orders/?user=%d", s.annaID)).Is(t, http.StatusOK, `{"count":0,"next":null,"previous":null,"results":[]}`)
		bert.Get("/api/orders/0/").Is(t, http.StatusNotFound, missing)
		s.staff.Get(path(id, "")).Is(t, http.StatusOK, s.anna.Get(path(id, "")).Body)
	})
}

func TestFilters(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		bertID := databasetest.NewUser(t, s.db)
		bert := s.server.Customer(bertID)
		for _, customer := range []*httpapitest.Client{s.anna, bert, s.anna} {
			buy(t, customer, 1, 1)
		}
		s.staff.Do(patch, path(2, "status/"), `{"status":"processing"}`)
		noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		for id := range 3 {
			s.change(t, "UPDATE orders SET created_at = ? WHERE id = ?", noon.Add(time.Duration(id)*time.Hour+500*time.Millisecond), id+1)
		}
		for query, want := range map[string]string{
			"":                                     "3 2 1",
			"?page_size=2":                         "3 2",
			"?page_size=2&page=2":                  "1",
			"?status=pending":                      "3 1",
			"?status=processing":                   "2",
			"?status=delivered":                    "",
			"?created_after=2026-05-01T12:00:00Z":  "3 2 1",
			"?created_after=2026-05-01T12:00:01Z":  "3 2",
			"?created_before=2026-05-01T13:00:00Z": "1",
			"?created_after=2026-05-01T15:00:00%2B02:00&created_before=2026-05-01T14:00:00Z": "2",
			"?created_after=2026-05-01":                    "3 2 1",
			"?created_before=2026-05-01":                   "",
			fmt.Sprintf("?user=%d", bertID):                "2",
			fmt.Sprintf("?user=%d&status=pending", bertID): "",
			"?user=99": "",
		} {
			if got := ids(t, s.staff.Get("/api/orders/"+query)); got != want {
				t.Errorf("staff asking %s gets %q, want %q", query, got, want)
			}
		}
		if got := ids(t, s.anna.Get("/api/orders/?status=pending")); got != "3 1" {
			t.Errorf("a customer gets %q, want the own orders 3 1", got)
		}
		s.change(t, "UPDATE orders SET created_at = ? WHERE id < 3", noon)
		for query, want := range map[string]string{"": "3 2 1", "?created_after=2026-05-01": "3 2 1", "?created_before=2026-05-01T12:00:01Z": "2 1"} {
			if got := ids(t, s.staff.Get("/api/orders/"+query)); got != want {
				t.Errorf("of orders of the same moment staff asking %s gets %q, want %q", query, got, want)
			}
		}
		s.staff.Get("/api/orders/?status=lost&user=me&created_after=noon&created_before=2026-13-01").Is(t, http.StatusBadRequest,
			`{"created_after":["Enter a valid date/time."],"created_before":["Enter a valid date/time."],`+
				`"status":["Select a valid choice. That choice is not one of the available choices."],"user":["A valid integer is required."]}`)
		s.staff.Get("/api/orders/?page=2").Is(t, http.StatusNotFound, `{"error":"Invalid page."}`)
	})
}

// However many orders there are, those of a period cost what they are.
func TestOfOtherPeriodsNothingIsRead(t *testing.T) {
	url := databasetest.Migrated(t)
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	s := openShop(t, db)
	s.change(t, `INSERT INTO orders (user_id, status, total_cents, shipping_address, created_at, updated_at)
		SELECT ?, 'delivered', 100, '', at, at FROM generate_series('2026-01-01Z'::timestamptz, '2026-01-15Z', '1 minute') at`, s.annaID)
	s.change(t, "VACUUM ANALYZE orders") // after which an index can count without them
	const page = "?page_size=3&created_"
	for query, want := range map[string]string{
		page + "before=2026-01-01T00:30:00Z": "30 29 28",
		page + "before=2026-01-08":           "10080 10079 10078",
		page + "before=2026-01-02&status=delivered&created_after=2026-01-01T23:30:00Z":        "1440 1439 1438",
		page + "after=2026-01-14T23:30:00Z":                                                   "20161 20160 20159",
		page + "after=2026-01-07T12:00:00Z&created_before=2026-01-07T12:30:00Z&user=1&page=2": "9387 9386 9385",
	} {
		if got := ids(t, s.staff.Get("/api/orders/"+query)); got != want {
			t.Errorf("%s finds %q, want %q", query, got, want)
		}
	}
	if err := db.Close(); err != nil { // which makes its connections tell what they have read
		t.Fatal(err)
	}
	if read := rowsRead(t, url, "orders"); read < 5*3 || read > 1000 {
		t.Errorf("five pages of three of 20,161 orders took the reading of %d", read)
	}
}

// rowsRead is how many rows of a table all connections that have ended read.
func rowsRead(t *testing.T, url, table string) (rows int64) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(context.WithoutCancel(t.Context()))
	one := func(query string, arguments ...any) (number int64) {
		if err := connection.QueryRow(t.Context(), query, arguments...).Scan(&number); err != nil {
			t.Fatal(err)
		}
		return number
	}
	const others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
	for one(others) > 0 {
		time.Sleep(time.Millisecond)
	}
	return one("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = $1", table)
}

func ids(t *testing.T, answer httpapitest.Answer) string {
	t.Helper()
	var all []string
	for _, order := range httpapitest.Has[struct{ Results []view }](t, answer, http.StatusOK).Results {
		all = append(all, fmt.Sprint(order.ID))
	}
	return strings.Join(all, " ")
}

func TestAListIsFourStatements(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for range 3 {
			put(t, s.anna, 1, 1)
			buy(t, s.anna, 2, 1)
		}
		statements := databasetest.CountStatements(t, s.db)
		for size := 1; size <= 3; size++ {
			orders := httpapitest.Has[struct{ Results []view }](t, s.anna.Get(fmt.Sprintf("/api/orders/?page_size=%d", size)), http.StatusOK).Results
			if got := statements(); got != 4 || len(orders) != size || len(orders[0].Items) != 2 {
				t.Errorf("%d orders took %d statements, want 4: %+v", size, got, orders)
			}
		}
	})
}
