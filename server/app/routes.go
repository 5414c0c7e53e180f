package app

import (
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// access is who may call a route.
type access int

const (
	anyone access = iota
	customer
	staff
)

type route struct {
	method string
	path   string
	who    access
	handle fiber.Handler
}

// importPath is the one route that takes a body of any length, piece by piece.
const importPath = "/api/products/import/"

// apiRoutes is the whole REST API.
func (a *App) apiRoutes() []route {
	const (
		get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	)
	reader := customer
	if a.settings.PublicCatalog {
		reader = anyone
	}
	return []route{
		{post, "/auth/api/register/", anyone, a.accounts.Register},
		{post, "/auth/api/token/", anyone, a.accounts.Token},
		{post, "/auth/api/token/refresh/", anyone, a.accounts.Refresh},
		{post, "/auth/api/token/verify/", anyone, a.accounts.Verify},
		{post, "/auth/api/logout/", customer, a.accounts.Logout},
		{get, "/auth/api/profile/", customer, a.accounts.Profile},
		{put, "/auth/api/profile/", customer, a.accounts.UpdateProfile},
		{patch, "/auth/api/profile/", customer, a.accounts.UpdateProfile},
		{post, "/auth/api/password/change/", customer, a.accounts.ChangePassword},
		{post, "/auth/api/password/reset/", anyone, a.accounts.ResetPassword},
		{get, "/auth/api/password/reset/confirm/", anyone, a.accounts.ResetPage},
		{post, "/auth/api/password/reset/confirm/", anyone, a.accounts.ConfirmReset},

		{get, "/api/products/", reader, a.catalog.ListProducts},
		{post, "/api/products/", staff, a.catalog.CreateProduct},
		{post, importPath, staff, a.catalog.Import(a.log)},
		{get, "/api/products/export/", staff, a.catalog.Export},
		{get, "/api/products/:id/", reader, a.catalog.GetProduct},
		{put, "/api/products/:id/", staff, a.catalog.UpdateProduct},
		{patch, "/api/products/:id/", staff, a.catalog.UpdateProduct},
		{del, "/api/products/:id/", staff, a.catalog.DeleteProduct},
		{get, "/api/categories/", reader, a.catalog.ListCategories},
		{post, "/api/categories/", staff, a.catalog.CreateCategory},
		{get, "/api/categories/:id/", reader, a.catalog.GetCategory},
		{put, "/api/categories/:id/", staff, a.catalog.UpdateCategory},
		{patch, "/api/categories/:id/", staff, a.catalog.UpdateCategory},
		{del, "/api/categories/:id/", staff, a.catalog.DeleteCategory},

		{get, "/api/cart/", customer, a.cart.Get},
		{del, "/api/cart/", customer, a.cart.Clear},
		{post, "/api/cart/items/", customer, a.cart.AddItem},
		{put, "/api/cart/items/:id/", customer, a.cart.UpdateItem},
		{patch, "/api/cart/items/:id/", customer, a.cart.UpdateItem},
		{del, "/api/cart/items/:id/", customer, a.cart.RemoveItem},

		{get, "/api/orders/", customer, a.orders.List},
		{post, "/api/orders/", customer, a.orders.Create},
		{get, "/api/orders/:id/", customer, a.orders.Get},
		{post, "/api/orders/:id/cancel/", customer, a.orders.Cancel},
		{patch, "/api/orders/:id/status/", staff, a.orders.ChangeStatus},

		{get, "/api/notifications/", customer, a.history.List},
		{post, "/api/notifications/read-all/", customer, a.history.MarkAllRead},
		{post, "/api/notifications/:id/read/", customer, a.history.MarkRead},

		{get, "/api/schema/", anyone, a.web.Schema},
		{get, "/api/docs/", anyone, a.web.Docs},
		{get, "/api/docs/:file", anyone, a.web.DocsFile},
		{get, "/web/notifications.js", anyone, a.web.Client},
	}
}

// socketRoutes is the whole notification listener. The hub authenticates before the upgrade itself, for a
// browser cannot send an Authorization header with it.
func (a *App) socketRoutes() []route {
	return []route{{http.MethodGet, "/ws/notifications/:user_id/", anyone, a.hub.Handler}}
}

// guards are what a request passes before a route's handler: a rate limit, and who may.
func (a *App) guards(r route) []fiber.Handler {
	authenticated := []fiber.Handler{a.guard.Refused, httpapi.Authenticated(a.callers.Authenticate), a.guard.User}
	if r.endsLogins() {
		authenticated = append(authenticated, a.callers.Forgetting)
	}
	switch r.who {
	case staff:
		return append(authenticated, httpapi.StaffOnly)
	case customer:
		return authenticated
	default:
		if r.endsLogins() {
			return []fiber.Handler{a.anonymousLimit(r), a.callers.Forgetting}
		}
		return []fiber.Handler{a.anonymousLimit(r)}
	}
}

// endsLogins tells whether a route may change whom a token stands for.
func (r route) endsLogins() bool {
	switch r.path {
	case "/auth/api/register/", "/auth/api/token/", "/auth/api/token/verify/":
		return false // they only begin some
	default:
		return strings.HasPrefix(r.path, "/auth/api/") && r.method != http.MethodGet
	}
}

// anonymousLimit is the rate limit of a route that needs no token: tighter where secrets can be guessed or
// mail is sent.
func (a *App) anonymousLimit(r route) fiber.Handler {
	if r.method == http.MethodGet {
		return a.guard.Anonymous
	}
	switch r.path {
	case "/auth/api/register/":
		return a.guard.Register
	case "/auth/api/token/":
		return a.guard.Login
	case "/auth/api/password/reset/", "/auth/api/password/reset/confirm/":
		return a.guard.Reset
	default:
		return a.guard.Anonymous
	}
}

// unguarded is for routes whose handlers see to it themselves who may.
func unguarded(route) []fiber.Handler { return nil }

// mount adds routes behind their guards. Fiber itself answers a known path's other methods with 405.
func mount(listener *fiber.App, routes []route, guards func(route) []fiber.Handler) {
	for _, r := range routes {
		handlers := append(guards(r), r.handle)
		listener.Add(r.method, r.path, handlers...)
		if r.method == http.MethodGet {
			listener.Head(r.path, handlers...)
		}
	}
}
