package ratelimit_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi/httpapitest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
)

// shop is an application with a route for each limit of 2 an hour, but for users of 3.
func shop(t *testing.T) func(path, token, forwarded string) httpapitest.Answer {
	t.Helper()
	limits, err := ratelimit.Parse("login=2/h,register=2/h,reset=2/h,anonymous=2/h,user=3/h")
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := httpapi.ParseProxies([]string{"0.0.0.0"}) // the peer of a request without a connection
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	guard := ratelimit.NewGuard(ratelimit.New(open(t, pubsub.Embedded), log).Patient(), limits, proxies)
	app := httpapi.New(httpapi.Options{Log: log})
	ok := func(c *fiber.Ctx) error { return c.JSON("ok") }
	authenticate := func(_ context.Context, token string) (httpapi.Caller, error) {
		if token == "bad" {
			return httpapi.Caller{}, httpapi.BadToken()
		}
		return httpapi.Caller{UserID: int64(len(token))}, nil
	}
	app.Get("/login/", guard.Login, ok)
	app.Get("/register/", guard.Register, ok)
	app.Get("/reset/", guard.Reset, ok)
	app.Get("/anonymous/", guard.Anonymous, ok)
	app.Get("/user/", guard.Refused, httpapi.Authenticated(authenticate), guard.User, ok)
	return func(path, token, forwarded string) httpapitest.Answer {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("X-Forwarded-For", forwarded)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := app.Test(r, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return httpapitest.Answer{Status: response.StatusCode, Header: response.Header, Body: string(body)}
	}
}

func TestEachLimitCountsByItself(t *testing.T) {
	get := shop(t)
	for _, path := range []string{"/login/", "/register/", "/reset/", "/anonymous/"} {
		for _, want := range []int{200, 200, 429, 429} {
			if got := get(path, "", "192.0.2.1"); got.Status != want {
				t.Errorf("%s: got %d, want %d", path, got.Status, want)
			}
		}
	}
}

func TestAThrottledRequestIsToldWhenToReturn(t *testing.T) {
	get := shop(t)
	first := get("/login/", "", "192.0.2.1")
	if policy, state := first.Header.Get("RateLimit-Policy"), first.Header.Get("RateLimit"); policy != `"login";q=2;w=3600` || state != `"login";r=1;t=1800` {
		t.Errorf("the first answer says %s and %s", policy, state)
	}
	get("/login/", "", "192.0.2.1")
	throttled := get("/login/", "", "192.0.2.1")
	if throttled.Header.Get("Retry-After") != "1800" || !strings.HasPrefix(throttled.Header.Get("RateLimit"), `"login";r=0;t=3`) {
		t.Errorf("the last answer says %v", throttled.Header)
	}
	throttled.Is(t, http.StatusTooManyRequests, `{"error":"Request was throttled. Expected available in 1800 seconds."}`)
}

func TestAddressesAreCountedApart(t *testing.T) {
	get := shop(t)
	for _, row := range []struct {
		name, forwarded string
		want            int
	}{
		{"first", "192.0.2.1", 200},
		{"a forged beginning does not help", "198.51.100.7, 192.0.2.1", 200},
		{"used up", "203.0.113.9, 192.0.2.1", 429},
		{"a neighbour", "192.0.2.2", 200},
		{"version 6", "2001:db8:0:1::1", 200},
		{"the same network", "2001:db8:0:1::2", 200},
		{"the same network again", "2001:db8:0:1:ffff::3", 429},
		{"another network", "2001:db8:0:2::1", 200},
	} {
		if got := get("/anonymous/", "", row.forwarded); got.Status != row.want {
			t.Errorf("%s: got %d, want %d", row.name, got.Status, row.want)
		}
	}
}

func TestUsersAreCountedWhereverTheyAre(t *testing.T) {
	get := shop(t)
	for i, want := range []int{200, 200, 200, 429} {
		if got := get("/user/", "a", "192.0.2."+string(rune('1'+i))); got.Status != want {
			t.Errorf("request %d got %d, want %d", i, got.Status, want)
		}
	}
	if got := get("/user/", "bb", "192.0.2.1"); got.Status != 200 {
		t.Errorf("another user got %d", got.Status)
	}
}

func TestRefusedTokensAreCountedByAddress(t *testing.T) {
	get := shop(t)
	for i, row := range []struct {
		token string
		want  int
	}{{"bad", 401}, {"", 401}, {"bad", 429}, {"a", 200}} {
		if got := get("/user/", row.token, "192.0.2.1"); got.Status != row.want {
			t.Errorf("request %d got %d, want %d", i, got.Status, row.want)
		}
	}
}
