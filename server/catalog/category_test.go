package catalog_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
)

var moment = regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"`)

func TestCategoryLife(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.staff.Post(categories, `{"name":"Café & Bar","description":"Cups"}`).Is(t, http.StatusCreated,
			`{"id":1,"name":"Café & Bar","slug":"cafe-bar","description":"Cups","product_count":0}`)
		s.staff.Post(categories, `{"name":"Art","slug":"fine_art"}`).Is(t, http.StatusCreated,
			`{"id":2,"name":"Art","slug":"fine_art","description":"","product_count":0}`)
		s.addProduct(t, `"name":"Cup","price":1,"category":1`)
		s.addProduct(t, `"name":"Mug","price":1,"category":1`)

		s.customer.Get(categories).Is(t, http.StatusOK, `{"count":2,"next":null,"previous":null,"results":[`+
			`{"id":2,"name":"Art","slug":"fine_art","description":"","product_count":0},`+
			`{"id":1,"name":"Café & Bar","slug":"cafe-bar","description":"Cups","product_count":2}]}`)
		s.staff.Do(http.MethodPatch, categories+"1/", `{"description":"Cups and mugs"}`).Is(t, http.StatusOK,
			`{"id":1,"name":"Café & Bar","slug":"cafe-bar","description":"Cups and mugs","product_count":2}`)
		s.staff.Do(http.MethodPut, categories+"1/", `{"name":"CAFÉ & BAR","slug":""}`).Is(t, http.StatusOK,
			`{"id":1,"name":"CAFÉ & BAR","slug":"cafe-bar","description":"Cups and mugs","product_count":2}`)

		s.staff.Do(http.MethodDelete, categories+"1/", "").Is(t, http.StatusBadRequest,
			`{"error":"Cannot delete a category that has products, archived ones included."}`)
		s.staff.Do(http.MethodDelete, categories+"2/", "").Is(t, http.StatusNoContent, "")
		s.customer.Get(categories+"2/").Is(t, http.StatusNotFound, missing)
		s.staff.Do(http.MethodDelete, categories+"2/", "").Is(t, http.StatusNotFound, missing)
		s.staff.Do(http.MethodPatch, categories+"2/", `{}`).Is(t, http.StatusNotFound, missing)
	})
}

func TestCategoriesThatAreRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.addCategory(t, "Οδός")
		s.addCategory(t, "Books")
		const slug = `Enter a valid \"slug\" consisting of letters, numbers, underscores or hyphens.`
		for body, want := range map[string]string{
			`{}`:                                  `{"name":["This field is required."]}`,
			`{"name":"","slug":"a b"}`:            `{"name":["This field may not be blank."],"slug":["` + slug + `"]}`,
			`{"name":"ΟΔΌΣ"}`:                     `{"name":["category with this name already exists."]}`,
			`{"name":"bOOKS","slug":"books"}`:     `{"name":["category with this name already exists."],"slug":["category with this slug already exists."]}`,
			`{"name":"Novels","slug":"books"}`:    `{"slug":["category with this slug already exists."]}`,
			`{"name":"Novels","slug":"bücher"}`:   `{"slug":["` + slug + `"]}`,
			`{"name":"No\u0000vels","slug":null}`: `{"name":["Null characters are not allowed."],"slug":["This field may not be null."]}`,
		} {
			s.staff.Post(categories, body).Is(t, http.StatusBadRequest, want)
		}
		s.staff.Do(http.MethodPatch, categories+"1/", `{"name":"BOOKS"}`).Is(t, http.StatusBadRequest, `{"name":["category with this name already exists."]}`)
		if rows := s.count(t, "categories"); rows != 2 {
			t.Errorf("%d categories, want the first two", rows)
		}
	})
}

func TestCategoriesMadeAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		const writers = 8
		slugs, refused := make([]string, writers), make([]bool, writers)
		var everybody sync.WaitGroup
		for n := range writers {
			everybody.Go(func() {
				// Different names that make the same slug …
				made := s.staff.Post(categories, fmt.Sprintf(`{"name":"Tea%s"}`, strings.Repeat("!", n)))
				slugs[n] = httpapitest.Has[struct{ Slug string }](t, made, http.StatusCreated).Slug
				// … and one name, which only one writer can have.
				same := s.staff.Post(categories, `{"name":"Coffee"}`)
				if refused[n] = same.Status != http.StatusCreated; refused[n] {
					same.Is(t, http.StatusBadRequest, `{"name":["category with this name already exists."]}`)
				}
			})
		}
		everybody.Wait()
		different, refusals := map[string]bool{}, 0
		for n := range writers {
			different[slugs[n]] = true
			if refused[n] {
				refusals++
			}
		}
		if len(different) != writers || !different["tea"] || !different["tea-8"] || refusals != writers-1 {
			t.Errorf("slugs %v, %d refusals of one name; want tea to tea-8 and %d", slugs, refusals, writers-1)
		}
	})
}
