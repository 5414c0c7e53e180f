package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/mail"
	"github.com/shopkeeper-dev/shopkeeper/server/mail/mailtest"
	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
)

const badLink = `{"token":["The link is not valid, was used before or has expired. Please ask for another."]}`

const refused = `{"error":"No active account found with the given credentials"}`

// mailing runs the background work of a shop until its test ends.
func (s *shop) mailing(t *testing.T) (stop func()) {
	t.Helper()
	s.resets.pause = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (s *shop) logIn(t *testing.T, name, password string) answered {
	t.Helper()
	return s.post(t, "/auth/api/token/", `{"email":"`+name+`@example.com","password":"`+password+`"}`)
}

func (s *shop) reset(t *testing.T, email string) {
	t.Helper()
	s.post(t, "/auth/api/password/reset/", `{"email":"`+email+`"}`).want(t, http.StatusOK,
		`{"message":"If an account has this email, a link to reset its password is on the way"}`)
}

var linkPattern = regexp.MustCompile(`https://shop\.example\.com/auth/api/password/reset/confirm/#(\S+)`)

// follow reads the link in a letter.
func follow(t *testing.T, letter mailtest.Letter) (uid, token string) {
	t.Helper()
	link := linkPattern.FindStringSubmatch(letter.Text)
	if link == nil {
		t.Fatalf("no link in %s", letter.Text)
	}
	values, err := url.ParseQuery(link[1])
	if err != nil {
		t.Fatal(err)
	}
	return values.Get("uid"), values.Get("token")
}

func (s *shop) confirm(t *testing.T, uid, token, password string) answered {
	t.Helper()
	return s.post(t, "/auth/api/password/reset/confirm/",
		`{"uid":"`+uid+`","token":"`+token+`","new_password":"`+password+`","new_password_confirm":"`+password+`"}`)
}

func (s *shop) profile(t *testing.T, access string) answered {
	t.Helper()
	return s.call(t, http.MethodGet, "/auth/api/profile/", access, "")
}

func (s *shop) refreshed(t *testing.T, pair tokens.Pair) answered {
	t.Helper()
	return s.post(t, "/auth/api/token/refresh/", `{"refresh":"`+pair.Refresh+`"}`)
}

func TestLogout(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		ann, bob := s.join(t, "ann"), s.join(t, "bob")
		other := s.logIn(t, "ann", "correct horse").pair(t)
		logout := func(access, refresh string) answered {
			return s.call(t, http.MethodPost, "/auth/api/logout/", access, `{"refresh":"`+refresh+`"}`)
		}
		logout("", ann.Refresh).want(t, http.StatusUnauthorized, `{"error":"Authentication credentials were not provided."}`)
		logout(ann.Access, "x").wantBadToken(t)
		logout(ann.Access, ann.Access).wantBadToken(t)
		logout(ann.Access, bob.Refresh).wantBadToken(t) // and bob stays
		logout(ann.Access, ann.Refresh).want(t, http.StatusResetContent, "")

		s.refreshed(t, ann).wantBadToken(t)
		s.profile(t, ann.Access).wantBadToken(t)
		logout(other.Access, ann.Refresh).wantBadToken(t)
		for _, stays := range []tokens.Pair{other, bob} {
			if got := s.profile(t, stays.Access); got.status != http.StatusOK {
				t.Errorf("another login: %d %s", got.status, got.body)
			}
			s.refreshed(t, stays).pair(t)
		}
	})
}

func TestChangePassword(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		mine := s.join(t, "ann")
		bob, elsewhere := s.join(t, "bob"), s.logIn(t, "ann", "correct horse").pair(t)
		change := func(old, fresh string) answered {
			return s.call(t, http.MethodPost, "/auth/api/password/change/", mine.Access,
				`{"old_password":"`+old+`","new_password":"`+fresh+`","new_password_confirm":"`+fresh+`"}`)
		}
		const wrong = `{"old_password":["Your old password was entered incorrectly. Please enter it again."]}`
		change("Correct horse", "battery staple").want(t, http.StatusBadRequest, wrong)
		change("wrong", "x7#kQ").want(t, http.StatusBadRequest, `{"new_password":["This password is too short. It must contain at least 8 characters."],`+wrong[1:])
		change("correct horse", "battery staple").want(t, http.StatusOK, `{"message":"Password changed successfully"}`)

		s.profile(t, elsewhere.Access).wantBadToken(t)
		s.refreshed(t, elsewhere).wantBadToken(t)
		for _, stays := range []tokens.Pair{mine, bob} {
			if got := s.profile(t, stays.Access); got.status != http.StatusOK {
				t.Errorf("a login that stays: %d %s", got.status, got.body)
			}
			s.refreshed(t, stays).pair(t)
		}
		s.logIn(t, "ann", "correct horse").want(t, http.StatusUnauthorized, refused)
		s.logIn(t, "ann", "battery staple").pair(t)
	})
}

func TestPasswordChangedAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		access := s.join(t, "ann").Access
		var changed atomic.Int64
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				fresh := fmt.Sprintf("battery staple %d", i)
				answer := s.call(t, http.MethodPost, "/auth/api/password/change/", access,
					`{"old_password":"correct horse","new_password":"`+fresh+`","new_password_confirm":"`+fresh+`"}`)
				switch answer.status {
				case http.StatusOK:
					changed.Add(1)
					s.logIn(t, "ann", fresh).pair(t)
				case http.StatusBadRequest:
				default:
					t.Errorf("got %d %s", answer.status, answer.body)
				}
			})
		}
		group.Wait()
		if changed.Load() != 1 {
			t.Errorf("one old password was changed %d times", changed.Load())
		}
	})
}

// A login that checked the password before a change does not outlive the change.
func TestNoLoginSlipsThroughAChange(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		before, err := s.store.byID(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if set, err := s.setPassword(t.Context(), before, "battery staple", ""); !set || err != nil {
			t.Fatalf("set %t, %v", set, err)
		}
		if _, started, err := s.start(t.Context(), before); started || err != nil {
			t.Errorf("a login by the password before: %t, %v", started, err)
		}
		if set, err := s.setPassword(t.Context(), before, "another staple", ""); set || err != nil {
			t.Errorf("a change by the password before: %t, %v", set, err)
		}
	})
}

func TestResetPassword(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.mailing(t)
		session := s.join(t, "ann")
		s.reset(t, "ANN@example.com")
		letter := s.inbox.Next(t)
		if letter.To != "ann@example.com" || letter.Subject() != "Reset your password" || !strings.Contains(letter.Text, "Hello ann,") {
			t.Errorf("got %+v", letter)
		}
		uid, token := follow(t, letter)
		for _, no := range []string{uid, session.Access, session.Refresh, token + "x"} {
			s.confirm(t, uid, no, "battery staple").want(t, http.StatusBadRequest, badLink)
		}
		s.confirm(t, encodeUID(2), token, "battery staple").want(t, http.StatusBadRequest, badLink)
		s.confirm(t, uid, token, "x7#kQ").want(t, http.StatusBadRequest, `{"new_password":["This password is too short. It must contain at least 8 characters."]}`)
		s.profile(t, token).wantBadToken(t)
		s.post(t, "/auth/api/token/verify/", `{"token":"`+token+`"}`).wantBadToken(t)
		s.profile(t, session.Access).want(t, http.StatusOK, s.profile(t, session.Access).body)

		s.confirm(t, uid, token, "battery staple").want(t, http.StatusOK, `{"message":"Password reset successfully"}`)
		s.confirm(t, uid, token, "another staple").want(t, http.StatusBadRequest, badLink)
		s.profile(t, session.Access).wantBadToken(t)
		s.refreshed(t, session).wantBadToken(t)
		s.logIn(t, "ann", "correct horse").want(t, http.StatusUnauthorized, refused)
		s.logIn(t, "ann", "battery staple").pair(t)
	})
}

// issueReset is a link's parameters without the mail.
func (s *shop) issueReset(t *testing.T, id int64) (uid, token string) {
	t.Helper()
	u, err := s.store.byID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	token, err = s.issuer.Reset(id, seal(u))
	if err != nil {
		t.Fatal(err)
	}
	return encodeUID(id), token
}

func TestResetLinkDies(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for name, death := range map[string]func(access string){
			"by a change of the password": func(access string) {
				s.call(t, http.MethodPost, "/auth/api/password/change/", access,
					`{"old_password":"correct horse","new_password":"battery staple","new_password_confirm":"battery staple"}`).
					want(t, http.StatusOK, `{"message":"Password changed successfully"}`)
			},
			"by a change of the email": func(access string) {
				if got := s.call(t, http.MethodPatch, "/auth/api/profile/", access, `{"email":"new@example.com"}`); got.status != http.StatusOK {
					t.Errorf("got %d %s", got.status, got.body)
				}
			},
			"with the user's activity": func(string) { s.exec(t, `UPDATE users SET is_active = false`) },
			"with the user":            func(string) { s.exec(t, `DELETE FROM users`) },
		} {
			s.exec(t, `DELETE FROM users`)
			access := s.join(t, "ann").Access
			caller, err := s.Authenticate(t.Context(), access)
			if err != nil {
				t.Fatal(err)
			}
			uid, token := s.issueReset(t, caller.UserID)
			death(access)
			if got := s.confirm(t, uid, token, "stapled battery"); got.status != http.StatusBadRequest || got.body != badLink {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		}
	})
}

func TestResetLinkUsedAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		uid, token := s.issueReset(t, 1)
		var used atomic.Int64
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				answer := s.confirm(t, uid, token, "battery staple")
				if answer.status == http.StatusOK {
					used.Add(1)
					return
				}
				answer.want(t, http.StatusBadRequest, badLink)
			})
		}
		group.Wait()
		if used.Load() != 1 {
			t.Errorf("one link was used %d times", used.Load())
		}
	})
}

func TestResetTellsNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		s.exec(t, `UPDATE users SET is_active = false`)
		s.exec(t, `ALTER TABLE users RENAME TO elsewhere`) // whoever asked it would fail
		for _, email := range []string{"ann@example.com", "nobody@example.com"} {
			s.reset(t, email)
		}
		s.exec(t, `ALTER TABLE elsewhere RENAME TO users`)
		s.mailing(t)() // until all is mailed
		s.inbox.None(t)
	})
}

func TestResetsAreBounded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		for range resetQueue { // nobody mails them
			if err := s.resets.request("ann@example.com"); err != nil {
				t.Fatal(err)
			}
		}
		s.post(t, "/auth/api/password/reset/", `{"email":"ann@example.com"}`).want(t, http.StatusServiceUnavailable, unavailable)
		s.mailing(t)()
		for range mailsPerUser.Count {
			s.inbox.Next(t)
		}
		s.inbox.None(t)
	})
}

type failing struct {
	attempts atomic.Int64
	failures int64
}

func (f *failing) Send(context.Context, mail.Message) error {
	if f.attempts.Add(1) <= f.failures {
		return errors.New("the mail server is away")
	}
	return nil
}

func TestMailIsTriedThreeTimes(t *testing.T) {
	for failures, want := range map[int64]error{0: nil, 2: nil, 3: errors.New("the mail server is away")} {
		server := &failing{failures: failures}
		r := &resets{mail: server, pause: time.Millisecond}
		err := r.send(t.Context(), mail.Message{})
		if fmt.Sprint(err) != fmt.Sprint(want) || server.attempts.Load() != min(failures+1, 3) {
			t.Errorf("%d failures: %d attempts, %v", failures, server.attempts.Load(), err)
		}
	}
}

func TestResetWithoutMailIsAnsweredAlike(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.resets.mail = nil
		for range 2 * resetQueue {
			if err := s.resets.request("ann@example.com"); err != nil {
				t.Fatal(err)
			}
		}
		s.reset(t, "ann@example.com")
	})
}
