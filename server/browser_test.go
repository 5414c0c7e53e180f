package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/golang-jwt/jwt/v5"
)

// page is what a shop's own page does with the client, as little as can be.
const page = `<!DOCTYPE html><script type="module">
	import { Notifications } from "http://%[1]s/web/notifications.js";
	globalThis.orders = []; globalThis.ids = []; globalThis.states = [];
	globalThis.notifications = new Notifications({
		url: "ws://%[2]s/ws/notifications/%[3]s/",
		token: async (renew) => {
			const answer = await fetch("/token?renew=" + renew);
			if (!answer.ok) throw new Error("status " + answer.status);
			return answer.text();
		},
		onEvent: (event) => { orders.push(event.order_id); ids.push(event.event_id); },
		onState: (state) => states.push(state),
	});
</script>`

// browsed is a shop whose customer has a page open in a browser, and what that page's own server does.
type browsed struct {
	api, hub *server
	access   string // the customer's own token
	html     string
	tab      context.Context
	life     atomic.Int64 // of the page's tokens, in seconds
	logins   atomic.Int64 // how often the page asked for a new one
	refuses  atomic.Bool  // whether it gets none
	made     []string     // orders
}

const signingSecret = "a secret of thirty-two characters"

// reissue signs a token of the server's again with another life.
func reissue(t *testing.T, token string, life time.Duration) string {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatal(err)
	}
	claims["iat"], claims["exp"] = time.Now().Unix(), time.Now().Add(life).Unix()
	again := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	again.Header["kid"] = "k1"
	signed, err := again.SignedString([]byte(signingSecret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// openBrowser starts a browser of the test's own, with no page yet.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // outlives the test's by the browser's end
	t.Cleanup(cancel)
	var options []chromedp.ExecAllocatorOption
	for _, flag := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
		"disable-component-update", "disable-sync", "disable-dev-shm-usage", "disable-extensions", "no-default-browser-check",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	options = append(options, chromedp.UserDataDir(t.TempDir()))
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(end)
	tab, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start Chromium: %v; make test installs it", err)
	}
	return tab
}

// value evaluates an expression in the page.
func (b *browsed) value(t *testing.T, expression string) string {
	t.Helper()
	value, err := chromedp.Run(b.tab, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		t.Fatalf("evaluate %s: %v", expression, err)
	}
	return value
}

func (b *browsed) await(t *testing.T, expression, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = b.value(t, expression); got == want {
			return
		}
	}
	t.Fatalf("%s is %s, want %s; the states were %s", expression, got, want, b.value(t, "states"))
}

// serve answers the page, and its requests for tokens.
func (b *browsed) serve(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch renew := r.URL.Query().Get("renew") == "true"; {
		case r.URL.Path != "/token":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, b.html)
		case renew && b.refuses.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			if renew {
				b.logins.Add(1)
			}
			fmt.Fprint(w, reissue(t, b.access, time.Duration(b.life.Load())*time.Second))
		}
	}
}

// browse opens a shop, makes an order there, and opens the page.
func browse(t *testing.T) (b *browsed, settings []string, url string) {
	t.Helper()
	b = &browsed{tab: openBrowser(t)}
	b.life.Store(900)
	pages := httptest.NewServer(b.serve(t))
	t.Cleanup(pages.Close)
	settings = append(postgresShop(t), "SHOP_SIGNING_KEYS=k1:"+signingSecret, "SHOP_CORS_ORIGINS="+pages.URL)
	b.api = start(t, append(settings, "SHOP_ROLES=api")...)
	b.hub = start(t, append(settings, "SHOP_ROLES=notifications")...)
	awaitReady(t, b.api.api, http.StatusOK)
	awaitReady(t, b.hub.sockets, http.StatusOK)
	registered := want(t, 201, b.api.api, "POST", "/auth/api/register/", "", registration)
	b.access = field(t, registered, "access")
	b.html = fmt.Sprintf(page, b.api.api, b.hub.sockets, field(t, registered, "id"))
	b.order(t)
	b.visit(t, pages.URL)
	return b, settings, pages.URL
}

func (b *browsed) order(t *testing.T) {
	t.Helper()
	want(t, 201, b.api.api, "POST", "/api/cart/items/", b.access, `{"product_id": 1}`)
	answer := want(t, 201, b.api.api, "POST", "/api/orders/", b.access, `{"shipping_address": "here"}`)
	b.made = append(b.made, field(t, answer, "id"))
}

func (b *browsed) visit(t *testing.T, url string) {
	t.Helper()
	if err := chromedp.Do(b.tab, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	b.awaitOrders(t)
}

// awaitOrders waits until the page has seen all orders, each once and in order.
func (b *browsed) awaitOrders(t *testing.T) {
	t.Helper()
	b.await(t, "globalThis.orders", strings.Join(b.made, ","))
	b.await(t, "ids.every((id, i) => id === i + 1)", "true")
}

// A page with the shop's own client misses nothing while the notification server restarts and while its tokens
// expire, and gets nothing twice.
func TestNotificationsInABrowser(t *testing.T) {
	b, settings, url := browse(t)
	b.order(t)
	b.awaitOrders(t)

	b.hub.stop(t)
	b.order(t)
	start(t, append(settings, "SHOP_ROLES=notifications", "SHOP_NOTIFICATIONS_ADDR="+b.hub.sockets)...)
	b.order(t)
	b.awaitOrders(t)
	b.await(t, "states.at(-1)", "open")

	b.life.Store(5)
	b.visit(t, url) // all again, with tokens that do not live long
	time.Sleep(7 * time.Second)
	b.order(t)
	b.awaitOrders(t)
	b.await(t, "states", "connecting,open") // the socket is still the first
	if b.logins.Load() == 0 {
		t.Error("the page has renewed no token")
	}

	b.refuses.Store(true)
	b.await(t, "states.includes('waiting')", "true")
	b.order(t)
	b.refuses.Store(false)
	b.awaitOrders(t)

	b.value(t, "notifications.close()")
	b.await(t, "states.at(-1)", "stopped")
}
