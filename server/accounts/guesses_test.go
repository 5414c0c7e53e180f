package accounts

import (
	"bytes"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

func TestGuessesAreSlowedDown(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		for _, name := range []string{"ann", "nobody"} {
			for range freeGuesses + 1 {
				s.logIn(t, name, "wrong").want(t, http.StatusUnauthorized, refused)
			}
			hashes := s.hashes.Load()
			answer := s.logIn(t, name, "correct horse") // too soon, right or wrong
			answer.want(t, http.StatusTooManyRequests, `{"error":"Request was throttled. Expected available in 1 seconds."}`)
			if answer.header.Get("Retry-After") != "1" || s.hashes.Load() != hashes {
				t.Errorf("%s: retry after %q, %d hashes", name, answer.header.Get("Retry-After"), s.hashes.Load()-hashes)
			}
			if policy, state := answer.header.Get("RateLimit-Policy"), answer.header.Get("RateLimit"); policy != `"guesses";q=1;w=1` || state != `"guesses";r=0;t=1` {
				t.Errorf("%s: the answer says %s and %s", name, policy, state)
			}
		}
		// Nobody is locked out: the owner is elsewhere, another user is not concerned.
		s.join(t, "bob")
		s.logIn(t, "bob", "correct horse").pair(t)
		s.from = "192.0.2.2"
		s.logIn(t, "ann", "correct horse").pair(t)
		s.from = "192.0.2.1"
		if got := s.logIn(t, "ann", "correct horse"); got.status != http.StatusTooManyRequests {
			t.Errorf("the guesser was let off by the owner's login: %d", got.status)
		}
		// And who shares the guesser's address gets in by a reset.
		uid, token := s.issueReset(t, 1)
		s.confirm(t, uid, token, "battery staple").want(t, http.StatusOK, `{"message":"Password reset successfully"}`)
		s.logIn(t, "ann", "battery staple").pair(t)
	})
}

func TestOldPasswordCannotBeGuessed(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		access := s.join(t, "ann").Access
		guess := func() answered {
			return s.call(t, http.MethodPost, "/auth/api/password/change/", access,
				`{"old_password":"wrong","new_password":"battery staple","new_password_confirm":"battery staple"}`)
		}
		for range freeGuesses + 1 {
			if got := guess(); got.status != http.StatusBadRequest {
				t.Errorf("got %d %s", got.status, got.body)
			}
		}
		if got := guess(); got.status != http.StatusTooManyRequests {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
}

func TestRightPasswordEndsTheCount(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		for range 3 {
			for range freeGuesses {
				s.logIn(t, "ann", "wrong").want(t, http.StatusUnauthorized, refused)
			}
			s.logIn(t, "ann", "correct horse").pair(t)
		}
	})
}

func TestManyGuessesAtOnceAreFew(t *testing.T) {
	const guesses = 20 // so few that Redis, which here is in the process, answers each in time also on a busy machine
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		slots := int64(cap(s.hasher.slots))
		var checked atomic.Int64
		var group sync.WaitGroup
		for range guesses {
			group.Go(func() {
				if s.logIn(t, "ann", "wrong").status == http.StatusUnauthorized {
					checked.Add(1)
				}
			})
		}
		group.Wait()
		// One more for each slot, and one whose failure is still on its way to Redis.
		if most := freeGuesses + 1 + 2*slots; checked.Load() > most {
			t.Errorf("%d of %d guesses at once were checked, want at most %d", checked.Load(), guesses, most)
		}
	})
}

func TestWaitsGrowToTheirBound(t *testing.T) {
	for name, url := range map[string]string{"redis": databasetest.Redis(t), "embedded": pubsub.Embedded} {
		t.Run(name, func(t *testing.T) {
			g := newGuesses(t, url)
			var waits []int64
			for range freeGuesses + 12 {
				waits = append(waits, g.ask(t.Context(), noteWrong, "k", forgetAfter.Milliseconds(),
					freeGuesses, firstWait.Milliseconds(), longestWait.Milliseconds())[0])
			}
			for i, wait := range waits {
				want := int64(0)
				if i >= freeGuesses {
					want = min(1000<<(i-freeGuesses), longestWait.Milliseconds())
				}
				if wait != want {
					t.Errorf("wrong password %d: wait %d ms, want %d", i+1, wait, want)
				}
			}
			if err := g.allow(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), strconv.Itoa(int(longestWait.Seconds()))) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWrongPasswordsAreForgotten(t *testing.T) {
	for name, url := range map[string]string{"redis": databasetest.Redis(t), "embedded": pubsub.Embedded} {
		t.Run(name, func(t *testing.T) {
			g := newGuesses(t, url)
			wrong := func() int64 { return g.ask(t.Context(), noteWrong, "k", 20, 1, 1, 1)[1] }
			if one, two := wrong(), wrong(); one != 1 || two != 2 {
				t.Errorf("counted %d, %d", one, two)
			}
			time.Sleep(50 * time.Millisecond)
			if again := wrong(); again != 1 {
				t.Errorf("counted %d after a while without", again)
			}
		})
	}
}

func newGuesses(t *testing.T, url string) *guesses {
	t.Helper()
	redis, err := pubsub.Open(url, "acme", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redis.Close() })
	return &guesses{redis: redis, log: slog.New(slog.DiscardHandler)}
}

func TestWithoutRedisNobodyIsSlowedDown(t *testing.T) {
	server := databasetest.StartRedis(t)
	g := newGuesses(t, server.URL())
	var log bytes.Buffer
	g.log = slog.New(slog.NewTextHandler(&log, nil))
	server.Pause(t)
	started := time.Now()
	for range 20 {
		g.wrong(t.Context(), "k")
		if err := g.allow(t.Context(), "k"); err != nil {
			t.Errorf("got %v", err)
		}
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 {
		t.Errorf("%d lines in the log:\n%s", lines, log.String())
	}
	server.Resume(t)
	g.quiet.Store(0)
	for range freeGuesses + 1 {
		g.wrong(t.Context(), "k")
	}
	if err := g.allow(t.Context(), "k"); err == nil {
		t.Error("nobody is slowed down with Redis either")
	}
}
