package cart_test

import (
	"flag"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"
	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/cart"
	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
)

func TestMain(m *testing.M) {
	// A step of a property is a request to a real database: the usual 100 runs would take long.
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	databasetest.Main(m)
}

const (
	empty        = `{"id":1,"items":[],"total_price":"0.00","total_items":0}`
	missing      = `{"error":"Not found."}`
	insufficient = `{"error":"Insufficient stock"}`
	put, patch   = http.MethodPut, http.MethodPatch
	del          = http.MethodDelete
)

// shop is a demo catalogue and two customers' carts.
type shop struct {
	db         *database.DB
	cart       *cart.Cart
	anna, bert *httpapitest.Client
	annaID     int64
}

func forEachEngine(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		products := catalog.New(db)
		if _, err := products.SeedDemo(t.Context()); err != nil {
			t.Fatal(err)
		}
		carts := cart.New(db, products)
		server := httpapitest.Serve(t, func(app *fiber.App) {
			app.Get("/api/cart/", carts.Get)
			app.Delete("/api/cart/", carts.Clear)
			app.Post("/api/cart/items/", carts.AddItem)
			app.Put("/api/cart/items/:id/", carts.UpdateItem)
			app.Patch("/api/cart/items/:id/", carts.UpdateItem)
			app.Delete("/api/cart/items/:id/", carts.RemoveItem)
		})
		annaID, bertID := databasetest.NewUser(t, db), databasetest.NewUser(t, db)
		test(t, &shop{
			db: db, cart: carts, anna: server.Customer(annaID), annaID: annaID, bert: server.Customer(bertID),
		})
	})
}

// change changes the database behind the cart's back.
func (s *shop) change(t *testing.T, statement string, arguments ...any) {
	t.Helper()
	if err := s.db.WithContext(t.Context()).Exec(statement, arguments...).Error; err != nil {
		t.Fatal(err)
	}
}

func TestTheDocumentedCart(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, empty)
		s.anna.Post("/api/cart/items/", "{\n  \"product_id\": 1,\n  \"quantity\": 2\n}").Is(t, http.StatusCreated,
			`{"id":1,"product":{"id":1,"name":"Smartphone Pro Max","price":"999.99","category_name":"Electronics"},"quantity":2,"total_price":"1999.98"}`)
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, httpapitest.Golden(t, "cart.json"))
		s.anna.Get("/api/cart").Is(t, http.StatusOK, httpapitest.Golden(t, "cart.json"))
		s.bert.Get("/api/cart/").Is(t, http.StatusOK, strings.Replace(empty, "1", "2", 1))
	})
}

func TestCartLife(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		const headphones = `{"id":1,"product":{"id":3,"name":"Wireless Headphones","price":"249.50","category_name":"Electronics"},`
		s.anna.Post("/api/cart/items/", `{"product_id":3}`).Is(t, http.StatusCreated, headphones+`"quantity":1,"total_price":"249.50"}`)
		s.anna.Post("/api/cart/items/", `{"product_id":"3","quantity":"2"}`).Is(t, http.StatusCreated, headphones+`"quantity":3,"total_price":"748.50"}`)
		s.anna.Post("/api/cart/items/", `{"product_id":9,"quantity":4}`)
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, `{"id":1,"items":[`+headphones+`"quantity":3,"total_price":"748.50"},`+
			`{"id":3,"product":{"id":9,"name":"The Lighthouse Keeper's Atlas","price":"24.90","category_name":"Books"},"quantity":4,"total_price":"99.60"}],`+
			`"total_price":"848.10","total_items":7}`)

		s.anna.Do(put, "/api/cart/items/1/", `{"quantity":80}`).Is(t, http.StatusOK, headphones+`"quantity":80,"total_price":"19960.00"}`)
		s.anna.Do(patch, "/api/cart/items/1/", `{"quantity":1}`).Is(t, http.StatusOK, headphones+`"quantity":1,"total_price":"249.50"}`)
		s.anna.Do(patch, "/api/cart/items/1/", `{}`).Is(t, http.StatusOK, headphones+`"quantity":1,"total_price":"249.50"}`)
		s.anna.Do(del, "/api/cart/items/3/", "").Is(t, http.StatusOK, `{"message":"Item removed from cart"}`)
		s.anna.Do(del, "/api/cart/items/3/", "").Is(t, http.StatusNotFound, missing)
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, `{"id":1,"items":[`+headphones+`"quantity":1,"total_price":"249.50"}],"total_price":"249.50","total_items":1}`)

		s.anna.Do(del, "/api/cart/", "").Is(t, http.StatusOK, `{"message":"Cart cleared successfully"}`)
		s.anna.Do(del, "/api/cart/", "").Is(t, http.StatusOK, `{"message":"Cart cleared successfully"}`)
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, empty)
		s.bert.Do(del, "/api/cart/", "").Is(t, http.StatusOK, `{"message":"Cart cleared successfully"}`)
	})
}

func TestWhatACartRefuses(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.anna.Post("/api/cart/items/", `{"product_id":1,"quantity":48}`)
		before := s.anna.Get("/api/cart/")
		invalid := func(field, message string) string { return fmt.Sprintf(`{%q:[%q]}`, field, message) }
		const whole, atLeast = "A valid integer is required.", "Ensure this value is greater than or equal to 1."
		const unknown = `{"error":"Product not found"}`
		for _, refused := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"POST", "/api/cart/items/", `{}`, 400, invalid("product_id", "This field is required.")},
			{"POST", "/api/cart/items/", ``, 400, invalid("product_id", "This field is required.")},
			{"POST", "/api/cart/items/", `{"product_id":null,"quantity":null}`, 400, `{"product_id":["This field may not be null."],"quantity":["This field may not be null."]}`},
			{"POST", "/api/cart/items/", `{"product_id":"one","quantity":1.5}`, 400, `{"product_id":["A valid integer is required."],"quantity":["A valid integer is required."]}`},
			{"POST", "/api/cart/items/", `{"product_id":[1],"quantity":true}`, 400, `{"product_id":["A valid integer is required."],"quantity":["A valid integer is required."]}`},
			{"POST", "/api/cart/items/", `{"product_id":1,"quantity":0}`, 400, invalid("quantity", atLeast)},
			{"POST", "/api/cart/items/", `{"product_id":1,"quantity":-3}`, 400, invalid("quantity", atLeast)},
			{"POST", "/api/cart/items/", `{"product_id":1,"quantity":2147483648}`, 400, invalid("quantity", "Ensure this value is less than or equal to 2147483647.")},
			{"POST", "/api/cart/items/", `{"product_id":1,"quantity":99999999999999999999}`, 400, invalid("quantity", "Ensure this value is less than or equal to 2147483647.")},
			{"POST", "/api/cart/items/", `{"product_id":1,"quantity":2147483647}`, 400, insufficient},
			{"POST", "/api/cart/items/", `{"product_id":1,"quantity":3}`, 400, insufficient},
			{"POST", "/api/cart/items/", `{"product_id":8}`, 400, insufficient},
			{"POST", "/api/cart/items/", `{"product_id":999}`, 404, unknown},
			{"POST", "/api/cart/items/", `{"product_id":0}`, 404, unknown},
			{"POST", "/api/cart/items/", `{"product_id":-9223372036854775808}`, 404, unknown},
			{put, "/api/cart/items/1/", `{"quantity":51}`, 400, insufficient},
			{put, "/api/cart/items/1/", `{"quantity":0}`, 400, invalid("quantity", atLeast)},
			{put, "/api/cart/items/1/", `{}`, 400, invalid("quantity", "This field is required.")},
			{put, "/api/cart/items/1/", `{"quantity":"many"}`, 400, invalid("quantity", whole)},
			{put, "/api/cart/items/2/", `{"quantity":1}`, 404, missing},
			{patch, "/api/cart/items/2/", `{}`, 404, missing},
			{put, "/api/cart/items/x/", `{"quantity":1}`, 404, missing},
			{del, "/api/cart/items/2/", ``, 404, missing},
			{del, "/api/cart/items/9223372036854775808/", ``, 404, missing},
		} {
			s.anna.Do(refused.method, refused.path, refused.body).Is(t, refused.status, refused.want)
		}
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, before.Body)
	})
}

func TestAnotherCustomersItemIsNotThere(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.anna.Post("/api/cart/items/", `{"product_id":1}`)
		before := s.anna.Get("/api/cart/")
		s.bert.Post("/api/cart/items/", `{"product_id":1}`)
		s.bert.Do(put, "/api/cart/items/1/", `{"quantity":2}`).Is(t, http.StatusNotFound, missing)
		s.bert.Do(patch, "/api/cart/items/1/", `{}`).Is(t, http.StatusNotFound, missing)
		s.bert.Do(del, "/api/cart/items/1/", "").Is(t, http.StatusNotFound, missing)
		s.bert.Do(del, "/api/cart/", "")
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, before.Body)
	})
}

func TestAnArchivedProductIsInNoCart(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.anna.Post("/api/cart/items/", `{"product_id":1}`)
		s.change(t, "UPDATE products SET archived_at = ? WHERE id = 1", database.Now())
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, empty)
		s.anna.Do(put, "/api/cart/items/1/", `{"quantity":1}`).Is(t, http.StatusNotFound, missing)
		s.anna.Post("/api/cart/items/", `{"product_id":1}`).Is(t, http.StatusNotFound, `{"error":"Product not found"}`)
	})
}

func TestACartShowsTodaysPrice(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.anna.Post("/api/cart/items/", `{"product_id":1}`)
		s.change(t, "UPDATE products SET price_cents = 1, stock = 0 WHERE id = 1")
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, `{"id":1,"items":[{"id":1,"product":{"id":1,"name":"Smartphone Pro Max","price":"0.01","category_name":"Electronics"},`+
			`"quantity":1,"total_price":"0.01"}],"total_price":"0.01","total_items":1}`)
	})
}

// The dearest cart of two lines is beyond 64 bits of cents and is shown to the cent.
func TestTotalsNeverWrap(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.change(t, "UPDATE products SET price_cents = 9999999999, stock = 2147483647")
		const most = `"quantity":2147483647,"total_price":"214748364678525163.53"}`
		for id := 1; id <= 2; id++ {
			added := s.anna.Post("/api/cart/items/", fmt.Sprintf(`{"product_id":%d,"quantity":2147483647}`, id))
			if added.Status != http.StatusCreated || !strings.HasSuffix(added.Body, most) {
				t.Errorf("got %d %s", added.Status, added.Body)
			}
		}
		s.anna.Post("/api/cart/items/", `{"product_id":1,"quantity":2147483647}`).Is(t, http.StatusBadRequest, insufficient)
		if cart := s.anna.Get("/api/cart/"); !strings.HasSuffix(cart.Body, `"total_price":"429496729357050327.06","total_items":4294967294}`) {
			t.Errorf("the cart is %s", cart.Body)
		}
	})
}

func TestACartIsMadeOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		var everybody sync.WaitGroup
		for range 16 {
			everybody.Go(func() { s.anna.Get("/api/cart/") })
		}
		everybody.Wait()
		var carts int64
		if err := s.db.WithContext(t.Context()).Table("carts").Count(&carts).Error; err != nil || carts != 1 {
			t.Errorf("%d carts, %v; want one", carts, err)
		}
	})
}

// Of many requests at once that each put two more of a product into a cart, as many succeed as there is stock for.
func TestNoMoreThanTheStockAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		const requests, stock = 16, 21
		s.change(t, "UPDATE products SET stock = ? WHERE id = 1", stock)
		var everybody sync.WaitGroup
		statuses := make([]int, requests)
		for n := range requests {
			everybody.Go(func() {
				statuses[n] = s.anna.Post("/api/cart/items/", `{"product_id":1,"quantity":2}`).Status
			})
		}
		everybody.Wait()
		slices.Sort(statuses)
		want := append(slices.Repeat([]int{http.StatusCreated}, stock/2), slices.Repeat([]int{http.StatusBadRequest}, requests-stock/2)...)
		if !slices.Equal(statuses, want) {
			t.Errorf("statuses %v, want %v", statuses, want)
		}
		cart := httpapitest.Has[view](t, s.anna.Get("/api/cart/"), http.StatusOK)
		if len(cart.Items) != 1 || cart.TotalItems != stock/2*2 {
			t.Errorf("%+v, want one item of %d", cart, stock/2*2)
		}
	})
}

func TestCheckOutHandsTheCartOverOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for _, id := range []int{9, 1, 5} {
			s.anna.Post("/api/cart/items/", fmt.Sprintf(`{"product_id":%d,"quantity":%d}`, id, id))
		}
		want := []cart.Line{{ProductID: 1, Quantity: 1}, {ProductID: 5, Quantity: 5}, {ProductID: 9, Quantity: 9}}
		var everybody sync.WaitGroup
		handed := make([][]cart.Line, 4)
		for n := range handed {
			everybody.Go(func() {
				err := s.db.InTx(t.Context(), func(tx *gorm.DB) (err error) {
					handed[n], err = s.cart.CheckOut(tx, s.annaID)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		everybody.Wait()
		slices.SortFunc(handed, func(a, b []cart.Line) int { return len(b) - len(a) })
		if !slices.Equal(handed[0], want) || len(handed[1])+len(handed[2])+len(handed[3]) != 0 {
			t.Errorf("handed over %v, want %v once", handed, want)
		}
		s.anna.Get("/api/cart/").Is(t, http.StatusOK, empty)
	})
}

// view is what the tests look at in a cart.
type view struct {
	Items []struct {
		ID      int64
		Product struct {
			ID    int64
			Price string
		}
		Quantity   int64
		TotalPrice string `json:"total_price"`
	}
	TotalPrice string `json:"total_price"`
	TotalItems int64  `json:"total_items"`
}

// Whatever a customer does, in whatever order, the cart is what a map from products to quantities would be.
func TestACartIsAMapOfQuantities(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.change(t, "UPDATE products SET stock = 7 WHERE id <= 3")
		rapid.Check(t, func(r *rapid.T) {
			s.anna.Do(del, "/api/cart/", "")
			model, items := map[int64]int64{}, map[int64]int64{} // of product id → quantity, item id
			product, quantity := rapid.Int64Range(1, 3), rapid.Int64Range(1, 8)
			r.Repeat(map[string]func(*rapid.T){
				"add": func(r *rapid.T) {
					p, q := product.Draw(r, "product"), quantity.Draw(r, "quantity")
					added := s.anna.Post("/api/cart/items/", fmt.Sprintf(`{"product_id":%d,"quantity":%d}`, p, q))
					if model[p]+q > 7 {
						added.Is(t, http.StatusBadRequest, insufficient)
						return
					}
					model[p] += q
					items[p] = httpapitest.Has[struct{ ID int64 }](t, added, http.StatusCreated).ID
				},
				"set": func(r *rapid.T) {
					p, q := product.Draw(r, "product"), quantity.Draw(r, "quantity")
					set := s.anna.Do(put, fmt.Sprintf("/api/cart/items/%d/", items[p]), fmt.Sprintf(`{"quantity":%d}`, q))
					switch {
					case model[p] == 0:
						set.Is(t, http.StatusNotFound, missing)
					case q > 7:
						set.Is(t, http.StatusBadRequest, insufficient)
					default:
						model[p] = q
					}
				},
				"remove": func(r *rapid.T) {
					p := product.Draw(r, "product")
					removed := s.anna.Do(del, fmt.Sprintf("/api/cart/items/%d/", items[p]), "")
					if _, there := model[p]; there != (removed.Status == http.StatusOK) {
						r.Fatalf("removing product %d of %v: %d", p, model, removed.Status)
					}
					delete(model, p)
				},
				"": func(r *rapid.T) { check(r, httpapitest.Has[view](t, s.anna.Get("/api/cart/"), http.StatusOK), model) },
			})
		})
	})
}

// check compares a cart with the model and its sums with those of big numbers.
func check(r *rapid.T, cart view, model map[int64]int64) {
	got, sum, count := map[int64]int64{}, new(big.Rat), int64(0)
	for _, item := range cart.Items {
		got[item.Product.ID] = item.Quantity
		price, _ := new(big.Rat).SetString(item.Product.Price)
		total := price.Mul(price, big.NewRat(item.Quantity, 1))
		if total.FloatString(2) != item.TotalPrice {
			r.Fatalf("an item's total is wrong: %+v", item)
		}
		sum.Add(sum, total)
		count += item.Quantity
	}
	if fmt.Sprint(got) != fmt.Sprint(model) || sum.FloatString(2) != cart.TotalPrice || count != cart.TotalItems {
		r.Fatalf("the cart is %+v, want %v", cart, model)
	}
}
