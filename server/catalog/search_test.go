package catalog_test

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

func TestFilters(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.addCategory(t, "Electronics")
		s.addCategory(t, "Books")
		s.addProduct(t, `"name":"Alpha","description":"A red phone case","price":"10.00","stock":1,"category":1,"featured":true`)
		s.addProduct(t, `"name":"Beta","description":"100%% cotton","price":"20.00","stock":0,"category":1`)
		s.addProduct(t, `"name":"Gamma Phone","description":"snake_case \\ ΟΔΌΣ","price":"20.01","stock":9,"category":2`)
		s.addProduct(t, `"name":"Delta","description":"RED and blue","price":"30.00","stock":2,"category":2,"featured":true`)
		for query, want := range map[string]string{
			"":                               "Delta Gamma Phone Beta Alpha",
			"?category=1":                    "Beta Alpha",
			"?category=99":                   "",
			"?category=-1":                   "",
			"?price_min=20":                  "Delta Gamma Phone Beta",
			"?price_max=20.00":               "Beta Alpha",
			"?price_max=2e1":                 "Beta Alpha",
			"?price_min=20&price_max=20.01":  "Gamma Phone Beta",
			"?price_min=5&price_max=1":       "",
			"?in_stock=true":                 "Delta Gamma Phone Alpha",
			"?in_stock=FALSE":                "Beta",
			"?featured=1":                    "Delta Alpha",
			"?featured=false":                "Gamma Phone Beta",
			"?search=phone":                  "Gamma Phone Alpha",
			"?search=RED":                    "Delta Alpha",
			"?search=red+phone":              "Alpha",
			"?search=gamma+snake":            "Gamma Phone",
			"?search=phonesnake":             "",
			"?search=%25":                    "Beta",
			"?search=100%25+cot":             "Beta",
			"?search=_":                      "Gamma Phone",
			"?search=r_d":                    "",
			"?search=%5C":                    "Gamma Phone",
			"?search=οδόσ":                   "Gamma Phone",
			"?search=%27":                    "",
			"?search=+++":                    "Delta Gamma Phone Beta Alpha",
			"?search=":                       "Delta Gamma Phone Beta Alpha",
			"?ordering=price":                "Alpha Beta Gamma Phone Delta",
			"?ordering=-price":               "Delta Gamma Phone Beta Alpha",
			"?ordering=name":                 "Alpha Beta Delta Gamma Phone",
			"?ordering=-name":                "Gamma Phone Delta Beta Alpha",
			"?ordering=created_at":           "Alpha Beta Gamma Phone Delta",
			"?ordering=-id":                  "Delta Gamma Phone Beta Alpha",
			"?ordering=id":                   "Alpha Beta Gamma Phone Delta",
			"?ordering=stock":                "Delta Gamma Phone Beta Alpha",
			"?ordering=price;DROP+TABLE":     "Delta Gamma Phone Beta Alpha",
			"?ordering=nonsense,+-name":      "Gamma Phone Delta Beta Alpha",
			"?category=2&featured=0&page=1":  "Gamma Phone",
			"?page_size=2":                   "Delta Gamma Phone",
			"?page_size=2&page=2":            "Beta Alpha",
			"?page_size=many":                "Delta Gamma Phone Beta Alpha",
			"?unknown=parameter&category=1&": "Beta Alpha",
		} {
			if got := names(t, s.customer.Get(products+query)); got != want {
				t.Errorf("%s finds %q, want %q", query, got, want)
			}
		}
	})
}

func TestFiltersThatDoNotParse(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for query, want := range map[string]string{
			"category=x":                     `{"category":["A valid integer is required."]}`,
			"category=99999999999999999999":  `{"category":["A valid integer is required."]}`,
			"price_min=cheap&price_max=1e90": `{"price_max":["A valid number is required."],"price_min":["A valid number is required."]}`,
			"in_stock=maybe&featured=2":      `{"featured":["Must be a valid boolean."],"in_stock":["Must be a valid boolean."]}`,
			"search=a%00b":                   `{"search":["Null characters are not allowed."]}`,
			"search=%ff":                     `{"search":["Not UTF-8."]}`,
			"ordering=%00&category=1.5":      `{"category":["A valid integer is required."],"ordering":["Null characters are not allowed."]}`,
		} {
			s.customer.Get(products+"?"+query).Is(t, http.StatusBadRequest, want)
		}
		for _, page := range []string{"0", "-1", "2", "x", "1.0", "99999999999999999999"} {
			s.customer.Get(products+"?page="+page).Is(t, http.StatusNotFound, `{"error":"Invalid page."}`)
		}
		s.customer.Get(products+"x/").Is(t, http.StatusNotFound, missing)
		s.customer.Get(products+"0/").Is(t, http.StatusNotFound, missing)
	})
}

// sold is a product as the model of the list knows it.
type sold struct {
	ID    int64
	Name  string
	cents money.Amount
	Stock int64
}

// Whatever is asked for and in pages of whatever size, following the links from page to page gives what a
// plain sort and filter of all products gives: nothing twice, nothing left out.
func TestPagesCoverTheListExactly(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		all := s.addAlikeProducts(t, 37)
		rapid.Check(t, func(r *rapid.T) {
			lowest := rapid.Int64Range(0, 4).Draw(r, "price_min")
			inStock := rapid.Bool().Draw(r, "in_stock")
			ordering := rapid.SampledFrom([]string{"", "price", "-price", "name", "-name", "id", "-id", "price,-name", "-name,price"}).Draw(r, "ordering")
			query := url.Values{
				"price_min": {strconv.FormatInt(lowest, 10)}, "in_stock": {strconv.FormatBool(inStock)}, "ordering": {ordering},
				"page_size": {strconv.Itoa(rapid.IntRange(1, 50).Draw(r, "page_size"))},
			}
			var want []int64
			for _, p := range sorted(all, ordering) {
				if p.cents >= money.Amount(lowest*100) && (p.Stock > 0) == inStock {
					want = append(want, p.ID)
				}
			}
			if got := s.follow(t, products+"?"+query.Encode()); !slices.Equal(got, want) {
				r.Fatalf("%v gives %v, want %v", query, got, want)
			}
		})
	})
}

// addAlikeProducts makes products many of which share their price, their name and their moment.
func (s *shop) addAlikeProducts(t *testing.T, count int) (all []sold) {
	t.Helper()
	s.addCategory(t, "Electronics")
	for n := range count {
		p := sold{Name: string(rune('a' + n*7%5)), cents: money.Amount(100 * (n * 3 % 6)), Stock: int64(n % 3)}
		p.ID = s.addProduct(t, `"name":%q,"price":%q,"stock":%d,"category":1`, p.Name, p.cents, p.Stock)
		all = append(all, p)
	}
	err := s.db.InTx(t.Context(), func(tx *gorm.DB) error {
		return tx.Exec("UPDATE products SET created_at = (SELECT min(created_at) FROM products)").Error
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sorted is the order that the documentation promises.
func sorted(all []sold, ordering string) []sold {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b sold) int {
		sign := -1
		for name := range strings.SplitSeq(ordering, ",") {
			key, descending := strings.CutPrefix(name, "-")
			if sign = 1; descending || key == "" {
				sign = -1
			}
			order := map[string]int{"price": cmp.Compare(a.cents, b.cents), "name": cmp.Compare(a.Name, b.Name)}[key]
			if order != 0 {
				return sign * order
			}
		}
		return sign * cmp.Compare(a.ID, b.ID)
	})
	return all
}

// follow reads all pages of a list from its first on.
func (s *shop) follow(t *testing.T, path string) (ids []int64) {
	t.Helper()
	for path != "" {
		page := httpapitest.Has[struct {
			Count   int
			Next    string
			Results []sold
		}](t, s.customer.Get(path), http.StatusOK)
		for _, p := range page.Results {
			ids = append(ids, p.ID)
		}
		if page.Next == "" && page.Count != len(ids) {
			t.Errorf("%s counts %d, and the pages show %d", path, page.Count, len(ids))
		}
		path = strings.TrimPrefix(page.Next, "http://localhost:8000")
	}
	return ids
}

// A list is one statement, however many products it finds, and none when it was asked for just before.
func TestAListIsOneStatement(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		if _, err := s.SeedDemo(t.Context()); err != nil {
			t.Fatal(err)
		}
		statements := databasetest.CountStatements(t, s.db)
		for n := 0; ; n++ { // until the counts are read
			loaded := catalog.CountsAreLoaded(s.Catalog)
			s.customer.Get(products + "?page_size=1&n=" + strconv.Itoa(n))
			if took := statements(); loaded && took == 1 {
				break
			}
			if n == 10_000 {
				t.Fatal("a list takes more than one statement")
			}
		}
		for category := range 5 {
			query := products + "?page_size=3&category=" + strconv.Itoa(category)
			s.customer.Get(query)
			if took := statements(); took > 2 { // the second now and then looks for changes
				t.Errorf("%s took %d statements", query, took)
			}
			s.customer.Get(query)
			if took := statements(); took != 0 {
				t.Errorf("%s took %d statements again", query, took)
			}
		}
	})
}
