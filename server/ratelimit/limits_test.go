package ratelimit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
)

func TestParse(t *testing.T) {
	got, err := ratelimit.Parse(" login=5/m, user=600/h,anonymous=1/s,register=2/d")
	want := ratelimit.Limits{
		Login:     ratelimit.Limit{Name: "login", Count: 5, Per: time.Minute},
		User:      ratelimit.Limit{Name: "user", Count: 600, Per: time.Hour},
		Anonymous: ratelimit.Limit{Name: "anonymous", Count: 1, Per: time.Second},
		Register:  ratelimit.Limit{Name: "register", Count: 2, Per: 24 * time.Hour},
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := ratelimit.Parse("off"); err != nil || got != (ratelimit.Limits{}) {
		t.Errorf("off is %+v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          `unknown limit ""`,
		"logon=5/m":                 `unknown limit "logon"`,
		"login=5/m,login=6/m":       "login is there twice",
		"login":                     "login: not a rate",
		"login=5":                   "login: not a rate",
		"login=5/w":                 "login: not a rate",
		"login=five/m":              "login: not a rate",
		"login=0/m":                 "login: out of bounds",
		"login=-1/m":                "login: out of bounds",
		"login=1000001/s":           "login: out of bounds",
		"login=5/m,user=99999999/m": "user: out of bounds",
	} {
		if _, err := ratelimit.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
