package app

import (
	"fmt"
	"strings"
	"testing"
)

// may is what one kind of caller gets from one route.
type may struct{ anonymous, owner, other, staff int }

// whoMay says, for each route, who gets what: an object's owner, another customer, staff, and whoever sends no
// token. A body that a route needs stands in bodies.
var whoMay = map[string]may{
	"POST /auth/api/register/":      {400, 400, 400, 400}, // an empty body is as far as all of them get
	"POST /auth/api/token/":         {400, 400, 400, 400},
	"POST /auth/api/token/refresh/": {400, 400, 400, 400},
	"POST /auth/api/token/verify/":  {400, 400, 400, 400},
	"POST /auth/api/logout/":        {401, 400, 400, 400},
	"GET /auth/api/profile/":        {401, 200, 200, 200},
	"PUT /auth/api/profile/":        {401, 400, 400, 400},
	"PATCH /auth/api/profile/":      {401, 200, 200, 200},

	"POST /auth/api/password/change/":        {401, 400, 400, 400},
	"POST /auth/api/password/reset/":         {400, 400, 400, 400},
	"GET /auth/api/password/reset/confirm/":  {200, 200, 200, 200},
	"POST /auth/api/password/reset/confirm/": {400, 400, 400, 400},

	"GET /api/products/":           {401, 200, 200, 200},
	"POST /api/products/":          {401, 403, 403, 400},
	"POST /api/products/import/":   {401, 403, 403, 415},
	"GET /api/products/export/":    {401, 403, 403, 200},
	"GET /api/products/{id}/":      {401, 200, 200, 200},
	"PUT /api/products/{id}/":      {401, 403, 403, 400},
	"PATCH /api/products/{id}/":    {401, 403, 403, 200},
	"DELETE /api/products/{id}/":   {401, 403, 403, 204},
	"GET /api/categories/":         {401, 200, 200, 200},
	"POST /api/categories/":        {401, 403, 403, 400},
	"GET /api/categories/{id}/":    {401, 200, 200, 200},
	"PUT /api/categories/{id}/":    {401, 403, 403, 400},
	"PATCH /api/categories/{id}/":  {401, 403, 403, 200},
	"DELETE /api/categories/{id}/": {401, 403, 403, 204},

	"GET /api/cart/":               {401, 200, 200, 200}, // each their own
	"DELETE /api/cart/":            {401, 200, 200, 200},
	"POST /api/cart/items/":        {401, 400, 400, 400},
	"PUT /api/cart/items/{id}/":    {401, 200, 404, 404},
	"PATCH /api/cart/items/{id}/":  {401, 200, 404, 404},
	"DELETE /api/cart/items/{id}/": {401, 200, 404, 404},

	"GET /api/orders/":               {401, 200, 200, 200},
	"POST /api/orders/":              {401, 400, 400, 400},
	"GET /api/orders/{id}/":          {401, 200, 404, 200},
	"POST /api/orders/{id}/cancel/":  {401, 200, 404, 200},
	"PATCH /api/orders/{id}/status/": {401, 403, 403, 200},

	"GET /api/notifications/":            {401, 200, 200, 200},
	"POST /api/notifications/read-all/":  {401, 200, 200, 200},
	"POST /api/notifications/{id}/read/": {401, 200, 404, 404},

	"GET /api/schema/":     {200, 200, 200, 200},
	"GET /api/docs/":       {200, 200, 200, 200},
	"GET /api/docs/{file}": {200, 200, 200, 200},
	"GET /healthz":         {200, 200, 200, 200},
	"GET /readyz":          {200, 200, 200, 200},

	"GET /web/notifications.js": {200, 200, 200, 200},
}

// bodies are sent where an empty one says nothing about who may.
var bodies = map[string]string{
	"PUT /api/cart/items/{id}/":      `{"quantity": 2}`,
	"PATCH /api/orders/{id}/status/": `{"status": "processing"}`,
}

func TestWhoMay(t *testing.T) {
	s := peopled(t)
	patterns := s.patterns()
	for name := range whoMay {
		if _, exists := patterns[name]; !exists {
			t.Errorf("%s is no route any more", name)
		}
	}
	for name := range patterns {
		row, known := whoMay[name]
		if !known {
			t.Errorf("the table of who may has no row for %s", name)
			continue
		}
		method, pattern, _ := strings.Cut(name, " ")
		body := bodies[name]
		if body == "" && (method == "POST" || method == "PUT" || method == "PATCH") {
			body = "{}"
		}
		for _, one := range []struct {
			who  string
			as   user
			want int
		}{
			{"anonymous", nobody, row.anonymous}, {"with a forged token", user{access: s.owner.access + "x"}, row.anonymous},
			{"with a refresh token", user{access: s.owner.refresh}, row.anonymous},
			{"another customer", s.other, row.other}, {"the owner", s.owner, row.owner}, {"staff", s.staff, row.staff},
		} {
			got := s.send(request{method: method, path: s.object(pattern, s.owner), as: one.as, body: body})
			if got.status != one.want {
				t.Errorf("%s %s: got %d %s, want %d", name, one.who, got.status, got.body, one.want)
			}
		}
		bare := s.send(request{method: method, path: strings.TrimSuffix(s.object(pattern, s.owner), "/"), body: body})
		if bare.status != row.anonymous {
			t.Errorf("%s without the last slash: got %d %s, want %d", name, bare.status, bare.body, row.anonymous)
		}
	}
}

// What a customer sees is their own: another's orders and cart leave no trace in it.
func TestCustomersSeeTheirOwnOnly(t *testing.T) {
	s := peopled(t)
	order := s.newOrder(s.owner)
	s.newCartItem(s.owner)
	for _, one := range []struct {
		path  string
		as    user
		count int
	}{
		{"/api/orders/", s.other, 0}, {"/api/orders/", s.owner, 1}, {"/api/orders/", s.staff, 1},
		{fmt.Sprintf("/api/orders/?user=%d", s.owner.id), s.other, 0},
		{fmt.Sprintf("/api/orders/?user=%d", s.owner.id), s.staff, 1},
		{fmt.Sprintf("/api/orders/?user=%d", s.other.id), s.staff, 0},
	} {
		var page struct {
			Count   int
			Results []struct{ ID int64 }
		}
		s.must(200, request{method: "GET", path: one.path, as: one.as}).read(t, &page)
		if page.Count != one.count || len(page.Results) != one.count || one.count == 1 && page.Results[0].ID != order {
			t.Errorf("%s as %s: got %+v, want %d", one.path, one.as.email, page, one.count)
		}
	}
	if cart := s.must(200, request{method: "GET", path: "/api/cart/", as: s.other}); !strings.Contains(cart.body, `"items":[]`) {
		t.Errorf("another's cart is %s", cart.body)
	}
}

// A shop with a public catalogue shows it to everyone, and nothing else.
func TestAPublicCatalogueIsForReading(t *testing.T) {
	s := openShop(t, "SHOP_PUBLIC_CATALOG=true")
	for name, r := range s.patterns() {
		row, known := whoMay[name]
		if !known {
			t.Errorf("the table of who may has no row for %s", name)
			continue
		}
		method, pattern, _ := strings.Cut(name, " ")
		want := row.anonymous
		isCatalogue := strings.HasPrefix(pattern, "/api/products/") || strings.HasPrefix(pattern, "/api/categories/")
		if method == "GET" && isCatalogue && row.other == 200 { // the export stays with staff
			want = 200
			if strings.Contains(pattern, "{") {
				want = 404 // the shop is empty
			}
		}
		path := strings.NewReplacer("{id}", "1", "{file}", "docs.js").Replace(pattern)
		body := ""
		if r.method != "GET" && r.method != "" {
			body = "{}"
		}
		if got := s.send(request{method: method, path: path, body: body}); got.status != want {
			t.Errorf("%s: got %d %s, want %d", name, got.status, got.body, want)
		}
	}
}
