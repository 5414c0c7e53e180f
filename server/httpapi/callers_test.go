package httpapi_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

func TestCallersAreRememberedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, staff := 0, false
		callers := httpapi.RememberCallers(func(_ context.Context, token string) (httpapi.Caller, error) {
			asked++
			if token == "bad" {
				return httpapi.Caller{}, httpapi.BadToken()
			}
			caller := httpapi.Caller{UserID: 1, Staff: staff}
			if token == "short" {
				caller.Expires = time.Now().Add(300 * time.Millisecond)
			}
			return caller, nil
		})
		check := func(token string, wantAsked int, wantStaff bool) {
			t.Helper()
			asked = 0
			caller, err := callers.Authenticate(t.Context(), token)
			if err != nil || asked != wantAsked || caller.Staff != wantStaff {
				t.Errorf("%s: %+v, %v, asked %d times; want staff %v, %d times", token, caller, err, asked, wantStaff, wantAsked)
			}
		}
		check("a", 1, false)
		check("short", 1, false)
		staff = true
		check("a", 0, false)
		time.Sleep(400 * time.Millisecond)
		check("short", 1, true)
		time.Sleep(600 * time.Millisecond)
		check("a", 1, true)
		for range 2 {
			if _, err := callers.Authenticate(t.Context(), "bad"); err == nil {
				t.Error("a bad token is taken")
			}
		}
		if asked != 3 {
			t.Errorf("refusals are remembered: asked %d times, want 3", asked)
		}
		for n := range 10_001 {
			check(fmt.Sprint(n), 1, true)
		}
		check("a", 1, true)
	})
}

func TestCallersAreForgottenAtOnce(t *testing.T) {
	var callers *httpapi.Callers
	meanwhile := func() {}
	staff := true
	callers = httpapi.RememberCallers(func(context.Context, string) (httpapi.Caller, error) {
		was := staff
		meanwhile()
		return httpapi.Caller{UserID: 1, Staff: was}, nil
	})
	app := fiber.New()
	app.Post("/", callers.Forgetting, func(*fiber.Ctx) error { staff = false; return nil })
	change := func() {
		if _, err := app.Test(httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)); err != nil {
			t.Error(err)
		}
	}
	who := func() bool {
		caller, err := callers.Authenticate(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		return caller.Staff
	}
	if !who() {
		t.Error("not staff at first")
	}
	change()
	if who() {
		t.Error("staff after the change")
	}
	staff = true
	change()
	staff = true
	meanwhile = func() { meanwhile = func() {}; change() }
	who() // read before the change, and not to be kept
	if who() {
		t.Error("staff after a change during the look")
	}
}
