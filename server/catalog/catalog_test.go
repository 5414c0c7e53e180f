package catalog_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const (
	missing    = `{"error":"Not found."}`
	staffID    = 1
	categories = "/api/categories/"
	products   = "/api/products/"
)

// shop is the catalogue as its clients meet it.
type shop struct {
	*catalog.Catalog
	db       *database.DB
	staff    *httpapitest.Client
	customer *httpapitest.Client
}

func forEachEngine(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		s := &shop{Catalog: catalog.New(db), db: db}
		server := serve(t, s.Catalog)
		s.staff, s.customer = server.Staff(staffID), server.Customer(2)
		test(t, s)
	})
}

func serve(t *testing.T, c *catalog.Catalog) *httpapitest.Server {
	t.Helper()
	return httpapitest.Serve(t, func(app *fiber.App) {
		app.Get("/api/products/", c.ListProducts)
		app.Post("/api/products/", c.CreateProduct)
		app.Post(importPath, c.Import(slog.New(slog.DiscardHandler)))
		app.Get(exportPath, c.Export)
		app.Get("/api/products/:id/", c.GetProduct)
		app.Put("/api/products/:id/", c.UpdateProduct)
		app.Patch("/api/products/:id/", c.UpdateProduct)
		app.Delete("/api/products/:id/", c.DeleteProduct)
		app.Get("/api/categories/", c.ListCategories)
		app.Post("/api/categories/", c.CreateCategory)
		app.Get("/api/categories/:id/", c.GetCategory)
		app.Put("/api/categories/:id/", c.UpdateCategory)
		app.Patch("/api/categories/:id/", c.UpdateCategory)
		app.Delete("/api/categories/:id/", c.DeleteCategory)
	})
}

// addCategory makes a category and returns its id.
func (s *shop) addCategory(t *testing.T, name string) int64 {
	t.Helper()
	made := s.staff.Post(categories, fmt.Sprintf(`{"name":%q}`, name))
	return httpapitest.Has[struct{ ID int64 }](t, made, http.StatusCreated).ID
}

// addProduct makes a product from the inside of a JSON object and returns its id.
func (s *shop) addProduct(t *testing.T, fields string, arguments ...any) int64 {
	t.Helper()
	made := s.staff.Post(products, "{"+fmt.Sprintf(fields, arguments...)+"}")
	return httpapitest.Has[struct{ ID int64 }](t, made, http.StatusCreated).ID
}

// order makes a product one that an order refers to.
func (s *shop) order(t *testing.T, productID int64) {
	t.Helper()
	user, now := databasetest.NewUser(t, s.db), database.Now()
	err := s.db.InTx(t.Context(), func(tx *gorm.DB) error {
		err := tx.Exec(`INSERT INTO orders (id, user_id, status, total_cents, shipping_address, created_at, updated_at)
			VALUES (?, ?, 'pending', 0, '', ?, ?)`, productID, user, now, now).Error
		if err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO order_items (order_id, product_id, product_name, category_name, price_cents, quantity)
			VALUES (?, ?, '', '', 0, 1)`, productID, productID).Error
	})
	if err != nil {
		t.Fatal(err)
	}
}

// names returns the names on a page of products, in its order.
func names(t *testing.T, answer httpapitest.Answer) string {
	t.Helper()
	page := httpapitest.Has[struct{ Results []struct{ Name string } }](t, answer, http.StatusOK)
	var all []string
	for _, product := range page.Results {
		all = append(all, product.Name)
	}
	return strings.Join(all, " ")
}

func TestTheDocumentedList(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		if added, err := s.SeedDemo(t.Context()); err != nil || added != 25 {
			t.Fatalf("seeded %d, %v; want 25", added, err)
		}
		documented := httpapitest.Golden(t, "product_list.json") // shows the first of the page's products
		list := s.customer.Get(products)
		if list.Status != http.StatusOK || !strings.HasPrefix(list.Body, strings.TrimSuffix(documented, "]}")+",") {
			t.Errorf("got %d %s\nwant it to begin like %s", list.Status, list.Body, documented)
		}
		last := s.customer.Get(products + "?page=2")
		if want := `{"count":25,"next":null,"previous":"http://localhost:8000/api/products/","results":[{`; !strings.HasPrefix(last.Body, want) {
			t.Errorf("page 2 is %s, want it to begin with %s", last.Body, want)
		}
		s.customer.Get(products+"?page=3").Is(t, http.StatusNotFound, `{"error":"Invalid page."}`)
		s.customer.Get(products+"?category=1&price_min=50&price_max=999.99&in_stock=true&search=phone&featured=true&page_size=1").Is(t, http.StatusOK,
			`{"count":2,"next":"http://localhost:8000/api/products/?category=1&featured=true&in_stock=true&page=2&page_size=1&price_max=999.99&price_min=50&search=phone",`+
				`"previous":null,"results":[{"id":1,"name":"Smartphone Pro Max","price":"999.99","stock":50,"category_name":"Electronics",`+
				`"image":"https://example.com/image.jpg","is_in_stock":true,"featured":true}]}`)
	})
}

func TestSeedDemoTakesTurnsAndRepeatsNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		var everybody sync.WaitGroup
		added := make([]int, 4)
		for n := range added {
			everybody.Go(func() {
				var err error
				if added[n], err = s.SeedDemo(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		everybody.Wait()
		if sum := added[0] + added[1] + added[2] + added[3]; sum != 25 {
			t.Errorf("four at once added %v, want 25 in all", added)
		}
	})
}

func TestProductLife(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.addCategory(t, "Electronics")
		id := s.addProduct(t, `"name":" Lamp ","description":"Bright","price":12.5,"stock":3,"category":1,"image":"https://example.com/l.jpg","featured":true`)
		path := fmt.Sprintf("%s%d/", products, id)
		got := withoutTimes(s.customer.Get(path))
		got.Is(t, http.StatusOK, `{"id":1,"name":"Lamp","price":"12.50","stock":3,"category_name":"Electronics","image":"https://example.com/l.jpg",`+
			`"is_in_stock":true,"featured":true,"description":"Bright","category":1,"created_at":"TIME","updated_at":"TIME"}`)

		withoutTimes(s.staff.Do(http.MethodPatch, path, `{"stock":0}`)).Is(t, http.StatusOK,
			strings.NewReplacer(`"stock":3`, `"stock":0`, `"is_in_stock":true`, `"is_in_stock":false`).Replace(got.Body))
		withoutTimes(s.staff.Do(http.MethodPut, path, `{"name":"Lantern","price":"13.00","category":"1"}`)).Is(t, http.StatusOK,
			`{"id":1,"name":"Lantern","price":"13.00","stock":0,"category_name":"Electronics","image":"https://example.com/l.jpg",`+
				`"is_in_stock":false,"featured":true,"description":"Bright","category":1,"created_at":"TIME","updated_at":"TIME"}`)
		if found := names(t, s.customer.Get(products+"?search=lantern")); found != "Lantern" {
			t.Errorf("a search for the new name finds %q", found)
		}

		s.staff.Do(http.MethodDelete, path, "").Is(t, http.StatusNoContent, "")
		s.customer.Get(path).Is(t, http.StatusNotFound, missing)
		s.staff.Do(http.MethodDelete, path, "").Is(t, http.StatusNotFound, missing)
		s.staff.Do(http.MethodPatch, path, `{"stock":1}`).Is(t, http.StatusNotFound, missing)
		if rows := s.count(t, "products"); rows != 0 {
			t.Errorf("%d rows are left of a product that no order refers to", rows)
		}
	})
}

func TestAProductThatWasSoldIsArchived(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		category := s.addCategory(t, "Electronics")
		id := s.addProduct(t, `"name":"Lamp","price":1,"stock":1,"category":%d`, category)
		s.order(t, id)
		path := fmt.Sprintf("%s%d/", products, id)

		s.staff.Do(http.MethodDelete, path, "").Is(t, http.StatusNoContent, "")
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			s.staff.Do(method, path, `{"name":"Lamp","price":1,"category":1}`).Is(t, http.StatusNotFound, missing)
		}
		s.customer.Get(products).Is(t, http.StatusOK, `{"count":0,"next":null,"previous":null,"results":[]}`)
		if rows := s.count(t, "products"); rows != 1 {
			t.Errorf("%d rows of a product that an order refers to, want it kept", rows)
		}

		s.customer.Get(categories+"1").Is(t, http.StatusOK, `{"id":1,"name":"Electronics","slug":"electronics","description":"","product_count":0}`)
		s.staff.Do(http.MethodDelete, categories+"1/", "").Is(t, http.StatusBadRequest,
			`{"error":"Cannot delete a category that has products, archived ones included."}`)
	})
}

func TestProductsThatAreRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.addCategory(t, "Electronics")
		for body, want := range map[string]string{
			`{}`: `{"category":["This field is required."],"name":["This field is required."],"price":["This field is required."]}`,
			`{"name":null,"price":null,"category":null,"stock":null,"image":null,"featured":null,"description":null}`: `{"category":["This field may not be null."],` +
				`"description":["This field may not be null."],"featured":["This field may not be null."],"image":["This field may not be null."],` +
				`"name":["This field may not be null."],"price":["This field may not be null."],"stock":["This field may not be null."]}`,
			`{"name":" ","price":"abc","category":7,"stock":-1,"image":"ftp://example.com/","featured":"perhaps"}`: `{"category":["Invalid pk \"7\" - object does not exist."],` +
				`"featured":["Must be a valid boolean."],"image":["Enter a valid URL."],"name":["This field may not be blank."],` +
				`"price":["A valid number is required."],"stock":["Ensure this value is greater than or equal to 0."]}`,
			`{"name":"` + strings.Repeat("ü", 256) + `","price":"100000000.00","category":-1,"stock":2147483648}`: `{"category":["Invalid pk \"-1\" - object does not exist."],` +
				`"name":["Ensure this field has no more than 255 characters."],"price":["Ensure this value is less than or equal to 99999999.99."],` +
				`"stock":["Ensure this value is less than or equal to 2147483647."]}`,
			`{"name":[],"price":1.005,"category":1.5,"stock":"many"}`: `{"category":["A valid integer is required."],"name":["Not a valid string."],` +
				`"price":["Ensure that there are no more than 2 decimal places."],"stock":["A valid integer is required."]}`,
			`[]`: `{"error":"Invalid data. Expected a dictionary, but got list."}`,
		} {
			s.staff.Post(products, body).Is(t, http.StatusBadRequest, want)
		}
		if rows := s.count(t, "products"); rows != 0 {
			t.Errorf("refused requests left %d products", rows)
		}
		s.addProduct(t, `"name":%q,"price":"99999999.99","stock":2147483647,"category":1`, strings.Repeat("ü", 255))
	})
}

func TestAPriceWithAnExponent(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.addCategory(t, "Electronics")
		for price, want := range map[string]string{"1e2": "100.00", "1.5E1": "15.00", `"1250e-2"`: "12.50"} {
			id := s.addProduct(t, `"name":"Lamp","price":%s,"category":1`, price)
			shown := httpapitest.Has[struct{ Price string }](t, s.customer.Get(fmt.Sprintf("%s%d/", products, id)), http.StatusOK)
			if shown.Price != want {
				t.Errorf("the price %s is shown as %s, want %s", price, shown.Price, want)
			}
		}
	})
}

// A staff member who renames a product while orders take its stock must not bring the sold units back.
func TestAChangeOfAProductKeepsSalesMeanwhile(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		const stock, sales = 100, 30
		s.addCategory(t, "Electronics")
		id := s.addProduct(t, `"name":"Lamp","price":1,"stock":%d,"category":1`, stock)
		var both sync.WaitGroup
		both.Go(func() {
			for n := range sales {
				s.staff.Do(http.MethodPatch, products+"1/", fmt.Sprintf(`{"name":"Lamp %d"}`, n))
			}
		})
		both.Go(func() {
			for range sales {
				var moves catalog.Moves
				err := s.db.InTx(t.Context(), func(tx *gorm.DB) error {
					_, _, err := s.TakeStock(tx, &moves, id, 1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
				s.Announce(moves)
			}
		})
		both.Wait()
		if left := httpapitest.Has[struct{ Stock int }](t, s.customer.Get(products+"1/"), http.StatusOK).Stock; left != stock-sales {
			t.Errorf("%d in stock after %d sales of %d", left, sales, stock)
		}
	})
}

func TestStockMoves(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.addCategory(t, "Electronics")
		id := s.addProduct(t, `"name":"Lamp","price":"9.99","stock":5,"category":1`)
		db := s.db.WithContext(t.Context())
		var moves catalog.Moves
		for _, step := range []struct {
			units int64
			ok    bool
			left  int64
		}{{6, false, 5}, {2, true, 3}, {3, true, 0}, {1, false, 0}} {
			taken, ok, err := s.TakeStock(db, &moves, id, step.units)
			if err != nil || ok != step.ok || s.stock(t, id) != step.left {
				t.Errorf("taking %d: %v, %v, %d left; want %v, %d left", step.units, ok, err, s.stock(t, id), step.ok, step.left)
			}
			if want := (catalog.Summary{ID: id, Name: "Lamp", Price: 999, CategoryName: "Electronics"}); ok && taken != want {
				t.Errorf("took of %+v, want %+v", taken, want)
			}
		}
		const largest = 1<<31 - 1
		for _, step := range []struct{ units, left int64 }{{2, 2}, {largest - 2, largest}, {1, largest}, {largest, largest}} {
			if err := s.ReturnStock(db, &moves, id, step.units); err != nil || s.stock(t, id) != step.left {
				t.Errorf("returning %d: %v, %d left; want %d", step.units, err, s.stock(t, id), step.left)
			}
		}
		if _, ok, err := s.TakeStock(db, &moves, id+1, 1); ok || err != nil {
			t.Errorf("taking from a product that is not there: %v, %v", ok, err)
		}
	})
}

func (s *shop) stock(t *testing.T, id int64) (left int64) {
	t.Helper()
	if err := s.db.WithContext(t.Context()).Raw("SELECT stock FROM products WHERE id = ?", id).Scan(&left).Error; err != nil {
		t.Fatal(err)
	}
	return left
}

func (s *shop) count(t *testing.T, table string) (rows int64) {
	t.Helper()
	if err := s.db.WithContext(t.Context()).Table(table).Count(&rows).Error; err != nil {
		t.Fatal(err)
	}
	return rows
}

func withoutTimes(answer httpapitest.Answer) httpapitest.Answer {
	answer.Body = moment.ReplaceAllString(answer.Body, `"TIME"`)
	return answer
}
