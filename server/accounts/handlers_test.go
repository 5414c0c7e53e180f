package accounts

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
)

//go:embed testdata/*.json
var examples embed.FS

var (
	anyToken = regexp.MustCompile(`"eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1Ni[\w.-]+"`)
	anyTime  = regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"`)
)

// wantPublished compares an answer with an example of the API document, which shortens tokens and stands at
// a moment of its own.
func (a answered) wantPublished(t *testing.T, status int, file string) {
	t.Helper()
	want, err := examples.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(a.body), "", "  "); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	got := anyToken.ReplaceAllString(indented.String(), `"eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9..."`)
	got = anyTime.ReplaceAllString(got, `"2025-01-08T10:00:00Z"`)
	if a.status != status || got+"\n" != string(want) {
		t.Errorf("got %d\n%s\nwant %d\n%s", a.status, got, status, want)
	}
}

func TestPublishedExamples(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		registered := s.post(t, "/auth/api/register/", published)
		registered.wantPublished(t, http.StatusCreated, "register.json")

		login := s.post(t, "/auth/api/token/", `{"email": "user@example.com", "password": "securepassword123"}`)
		login.wantPublished(t, http.StatusOK, "token.json")

		refreshed := s.post(t, "/auth/api/token/refresh/", `{"refresh":"`+login.pair(t).Refresh+`"}`)
		refreshed.wantPublished(t, http.StatusOK, "refresh.json")

		for _, answer := range []answered{registered, login, refreshed} {
			profile := s.call(t, http.MethodGet, "/auth/api/profile/", answer.pair(t).Access, "")
			if profile.status != http.StatusOK || !strings.Contains(registered.body, `{"user":`+profile.body+`,`) {
				t.Errorf("the profile is %d %s", profile.status, profile.body)
			}
		}
	})
}

func TestRegisterRefuses(t *testing.T) {
	type fields map[string][]string
	const (
		required = httpapi.Required
		badName  = "Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ characters."
		mismatch = "Passwords do not match."
	)
	tests := map[string]struct {
		change map[string]any // of a good body; nil leaves the field out
		want   fields
	}{
		"nothing": {
			map[string]any{"email": nil, "username": nil, "password": nil, "password_confirm": nil},
			fields{"email": {required}, "username": {required}, "password": {required}, "password_confirm": {required}},
		},
		"nulls": {
			map[string]any{"email": json.RawMessage("null"), "phone": json.RawMessage("null")},
			fields{"email": {httpapi.NotNull}, "phone": {httpapi.NotNull}},
		},
		"blanks": {
			map[string]any{"email": "", "username": " ", "password": "", "password_confirm": ""},
			fields{"email": {httpapi.NotBlank}, "username": {httpapi.NotBlank}, "password": {httpapi.NotBlank}, "password_confirm": {httpapi.NotBlank}},
		},
		"wrong types": {
			map[string]any{"email": []string{}, "username": true, "password": map[string]string{}, "first_name": false},
			fields{"email": {httpapi.NotText}, "username": {httpapi.NotText}, "password": {httpapi.NotText}, "first_name": {httpapi.NotText}, "password_confirm": {mismatch}},
		},
		"null characters": {
			map[string]any{"email": "a\x00@example.com", "username": "a\x00", "address": "\x00"},
			fields{"email": {httpapi.NoNull}, "username": {httpapi.NoNull}, "address": {httpapi.NoNull}},
		},
		"an email without a host":  {map[string]any{"email": "user@"}, fields{"email": {httpapi.NotEmail}}},
		"a username with a space":  {map[string]any{"username": "test user"}, fields{"username": {badName}}},
		"a username with a <":      {map[string]any{"username": "<test>"}, fields{"username": {badName}}},
		"a username that unfolds":  {map[string]any{"username": strings.Repeat("ﬄ", 60)}, fields{"username": {badName}}},
		"a phrase in one letter":   {map[string]any{"username": "ﷺ"}, fields{"username": {badName}}},
		"an address of no end":     {map[string]any{"address": strings.Repeat("x", 1001)}, fields{"address": {"Ensure this field has no more than 1000 characters."}}},
		"an email of no end":       {map[string]any{"email": strings.Repeat("x", 250) + "@example.com"}, fields{"email": {"Ensure this field has no more than 254 characters."}}},
		"a first name of no end":   {map[string]any{"first_name": strings.Repeat("ß", 151)}, fields{"first_name": {"Ensure this field has no more than 150 characters."}}},
		"an unequal confirmation":  {map[string]any{"password_confirm": "securepassword124"}, fields{"password_confirm": {mismatch}}},
		"spaces tell passwords":    {map[string]any{"password_confirm": "securepassword123 "}, fields{"password_confirm": {mismatch}}},
		"a short password":         {map[string]any{"password": "x7#kQ", "password_confirm": "x7#kQ"}, fields{"password": {"This password is too short. It must contain at least 8 characters."}}},
		"a password of no end":     {map[string]any{"password": strings.Repeat("xY3-", 33), "password_confirm": "x"}, fields{"password": {"Ensure this field has no more than 128 characters."}, "password_confirm": {mismatch}}},
		"a number for a password":  {map[string]any{"password": 8437529061, "password_confirm": "8437529061"}, fields{"password": {"This password is entirely numeric."}}},
		"a common password":        {map[string]any{"password": "Password123", "password_confirm": "Password123"}, fields{"password": {"This password is too common."}}},
		"a password like the name": {map[string]any{"password": "testuser1", "password_confirm": "testuser1"}, fields{"password": {"The password is too similar to the username."}}},
	}
	forEachEngine(t, func(t *testing.T, s *shop) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				var body map[string]any
				if err := json.Unmarshal([]byte(published), &body); err != nil {
					t.Fatal(err)
				}
				for field, value := range test.change {
					body[field] = value
					if value == nil {
						delete(body, field)
					}
				}
				s.post(t, "/auth/api/register/", encode(t, body)).want(t, http.StatusBadRequest, encode(t, test.want))
			})
		}
		if hashes := s.hashes.Load(); hashes != 0 {
			t.Errorf("%d passwords of refused users were hashed", hashes)
		}
		s.post(t, "/auth/api/register/", published).wantPublished(t, http.StatusCreated, "register.json")
	})
}

func encode(t *testing.T, value any) string {
	t.Helper()
	text, err := httpapi.EncodeJSON(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const unavailable = `{"error":"Service temporarily unavailable, try again later."}`

const bothTaken = `{"email":["user with this email already exists."],"username":["A user with that username already exists."]}`

func TestEmailAndUsernameAreUniqueRegardlessOfCase(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "straße")
		const password = `"password":"correct horse","password_confirm":"correct horse"}`
		for body, want := range map[string]string{
			`{"email":"STRASSE@EXAMPLE.COM","username":"ＳｔｒａＳＳｅ",` + password: bothTaken,
			`{"email":"Straße@example.com","username":"free",` + password:     `{"email":["user with this email already exists."]}`,
			`{"email":"free@example.com","username":"STRASSE",` + password:    `{"username":["A user with that username already exists."]}`,
			// All that is wrong is told at once.
			`{"email":"strasse@example.com","username":"free"}`: `{"email":["user with this email already exists."],` +
				`"password":["This field is required."],"password_confirm":["This field is required."]}`,
		} {
			s.post(t, "/auth/api/register/", body).want(t, http.StatusBadRequest, want)
		}
	})
}

func TestLongestOfEverythingIsTaken(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		// U+1FB7 is the letter that folds to the most bytes, which have to fit an index.
		email, username, password := strings.Repeat("ᾷ", 242)+"@example.com", strings.Repeat("ᾷ", 150), strings.Repeat("ßY3-", 32)
		body := `{"email":"` + email + `","username":"` + username + `","password":"` + password + `","password_confirm":"` + password + `"}`
		if answer := s.post(t, "/auth/api/register/", body); answer.status != http.StatusCreated {
			t.Errorf("got %d %s", answer.status, answer.body)
		}
		access := s.post(t, "/auth/api/token/", `{"email":"`+email+`","password":"`+password+`"}`).pair(t).Access
		preferences := `{"a":"` + strings.Repeat("x", preferencesSize-len(`{"a":"","b":"\\u0000"}`)) + `","b":"\\u0000"}` // a backslash and u0000
		answer := s.call(t, http.MethodPatch, "/auth/api/profile/", access, `{"profile":{"preferences":`+preferences+`}}`)
		if answer.status != http.StatusOK || !strings.Contains(answer.body, preferences) {
			t.Errorf("got %d %.200s", answer.status, answer.body)
		}
	})
}

func TestRegisterAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		const clients = 8
		s.hasher.slots = make(chan struct{}, clients)
		var hashing sync.WaitGroup // all are past the check for what is taken when the first one goes on
		hashing.Add(clients)
		derive := s.hasher.derive
		s.hasher.derive = func(password, salt []byte, passes, memory uint32, threads uint8, length uint32) []byte {
			hashing.Done()
			hashing.Wait()
			return derive(password, salt, passes, memory, threads, length)
		}
		var created, refused atomic.Int64
		var group sync.WaitGroup
		for range clients {
			group.Go(func() {
				switch answer := s.post(t, "/auth/api/register/", published); answer.status {
				case http.StatusCreated:
					created.Add(1)
				default:
					answer.want(t, http.StatusBadRequest, bothTaken)
					refused.Add(1)
				}
			})
		}
		group.Wait()
		if created.Load() != 1 || refused.Load() != clients-1 {
			t.Errorf("%d created, %d refused", created.Load(), refused.Load())
		}
	})
}

func TestRegisterIsAllOrNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.exec(t, `ALTER TABLE refresh_families RENAME TO elsewhere`)
		s.post(t, "/auth/api/register/", published).want(t, http.StatusInternalServerError, `{"error":"Internal server error."}`)
		s.exec(t, `ALTER TABLE elsewhere RENAME TO refresh_families`)
		if answer := s.post(t, "/auth/api/register/", published); answer.status != http.StatusCreated {
			t.Errorf("after a failure: %d %s", answer.status, answer.body)
		}
	})
}

func TestLoginByAnyCase(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		s.post(t, "/auth/api/token/", `{"email":" ANN@Example.COM ","password":"correct horse"}`).wantPublished(t, http.StatusOK, "token.json")
	})
}

func TestRefusedLoginsAreAllAlike(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		s.join(t, "bob")
		s.exec(t, `UPDATE users SET is_active = false WHERE username = 'bob'`)
		var costs []string
		derive := s.hasher.derive
		s.hasher.derive = func(password, salt []byte, passes, memory uint32, threads uint8, length uint32) []byte {
			costs = append(costs, fmt.Sprint(passes, memory, threads, length, len(salt)))
			return derive(password, salt, passes, memory, threads, length)
		}
		for _, body := range []string{
			`{"email":"nobody@example.com","password":"correct horse"}`,
			`{"email":"ann@example.com","password":"Correct horse"}`,
			`{"email":"ann@example.com","password":"correct horse "}`,
			`{"email":"bob@example.com","password":"correct horse"}`,
			`{"email":"bob@example.com","password":"wrong"}`,
		} {
			costs = nil
			answer := s.post(t, "/auth/api/token/", body)
			answer.want(t, http.StatusUnauthorized, `{"error":"No active account found with the given credentials"}`)
			if answer.header.Get("WWW-Authenticate") == "" {
				t.Error("there is no challenge")
			}
			if len(costs) != 1 || costs[0] != "1 8 1 32 16" {
				t.Errorf("%s: the hashes are %q, want one of a user's cost", body, costs)
			}
		}
	})
}

func TestTokenRefusesBadBodies(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for _, test := range []struct{ body, want string }{
			{``, `{"email":["This field is required."],"password":["This field is required."]}`},
			{`{"email":null,"password":""}`, `{"email":["This field may not be null."],"password":["This field may not be blank."]}`},
			{`{"email":"a","password":["b"]}`, `{"password":["Not a valid string."]}`},
			{`{"email":"\u0000","password":"\u0000"}`, `{"email":["Null characters are not allowed."],"password":["Null characters are not allowed."]}`},
		} {
			s.post(t, "/auth/api/token/", test.body).want(t, http.StatusBadRequest, test.want)
		}
	})
}

func TestBusyHasherIsUnavailable(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for range cap(s.hasher.slots) {
			s.hasher.slots <- struct{}{}
		}
		s.app.Post("/hurried/", func(c *fiber.Ctx) error {
			ctx, cancel := context.WithTimeout(c.UserContext(), 10*time.Millisecond)
			defer cancel()
			c.SetUserContext(ctx)
			return s.Token(c)
		})
		answer := s.post(t, "/hurried/", `{"email":"nobody@example.com","password":"correct horse"}`)
		answer.want(t, http.StatusServiceUnavailable, unavailable)
		if answer.header.Get("Retry-After") == "" {
			t.Error("it does not say when to try again")
		}
	})
}

func TestRefreshTokenUsedTwice(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		stolen := s.join(t, "ann")
		use := func(refresh string) answered {
			return s.post(t, "/auth/api/token/refresh/", `{"refresh":"`+refresh+`"}`)
		}
		next := use(stolen.Refresh).pair(t)
		use(stolen.Refresh).wantBadToken(t)
		use(next.Refresh).wantBadToken(t)
	})
}

func TestRefreshTokenUsedAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		body := `{"refresh":"` + s.join(t, "ann").Refresh + `"}`
		var taken atomic.Int64
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				answer := s.post(t, "/auth/api/token/refresh/", body)
				if answer.status == http.StatusOK {
					taken.Add(1)
					return
				}
				answer.wantBadToken(t)
			})
		}
		group.Wait()
		if taken.Load() != 1 {
			t.Errorf("one refresh token was taken %d times", taken.Load())
		}
	})
}

func TestVerify(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		pair := s.join(t, "ann")
		verify := func(token string) answered {
			return s.post(t, "/auth/api/token/verify/", `{"token":"`+token+`"}`)
		}
		verify(pair.Access).want(t, http.StatusOK, `{}`)
		verify(pair.Refresh).want(t, http.StatusOK, `{}`)
		verify(pair.Access + "x").wantBadToken(t)
		s.post(t, "/auth/api/token/refresh/", `{"refresh":"`+pair.Refresh+`"}`).pair(t)
		verify(pair.Refresh).wantBadToken(t)
		s.exec(t, `UPDATE users SET is_active = false`)
		verify(pair.Access).wantBadToken(t)
		s.post(t, "/auth/api/token/verify/", `{}`).want(t, http.StatusBadRequest, `{"token":["This field is required."]}`)
	})
}

func TestAuthenticate(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		pair := s.join(t, "ann")
		profile := func(token string) answered { return s.call(t, http.MethodGet, "/auth/api/profile/", token, "") }
		profile("").want(t, http.StatusUnauthorized, `{"error":"Authentication credentials were not provided."}`)
		profile(pair.Refresh).wantBadToken(t)
		profile("x").wantBadToken(t)

		caller, err := s.Authenticate(t.Context(), pair.Access)
		if err != nil || caller.UserID != 1 || caller.Staff {
			t.Errorf("the caller is %+v, %v", caller, err)
		}
		if left := time.Until(caller.Expires); left < 14*time.Minute || left > 15*time.Minute {
			t.Errorf("the token has %s left, want 15 minutes", left)
		}
		s.exec(t, `UPDATE users SET is_staff = true`)
		if caller, err := s.Authenticate(t.Context(), pair.Access); err != nil || !caller.Staff {
			t.Errorf("the caller is %+v, %v; want staff", caller, err)
		}
		s.exec(t, `UPDATE users SET is_active = false`)
		profile(pair.Access).wantBadToken(t)
		s.post(t, "/auth/api/token/refresh/", `{"refresh":"`+pair.Refresh+`"}`).wantBadToken(t)
		s.exec(t, `DELETE FROM users`)
		profile(pair.Access).wantBadToken(t)
	})
}

func TestUnavailableWithoutKeys(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		token := s.join(t, "ann").Access
		s.issuer.Use(nil)
		s.post(t, "/auth/api/register/", published).want(t, http.StatusServiceUnavailable, unavailable)
		s.post(t, "/auth/api/token/", `{"email":"ann@example.com","password":"correct horse"}`).want(t, http.StatusServiceUnavailable, unavailable)

		fresh := New(Options{DB: s.store.db, Issuer: tokens.New(tokens.Settings{}), Log: s.log})
		if _, err := fresh.Authenticate(t.Context(), token); err == nil || !strings.Contains(unavailable, err.Error()) {
			t.Errorf("authenticate: %v", err)
		}
	})
}

func TestProfileChanges(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "bob")
		token := s.join(t, "ann").Access
		change := func(method, body string) answered {
			return s.call(t, method, "/auth/api/profile/", token, body)
		}
		wantProfile := func(a answered, user, profile string) {
			t.Helper()
			a.body = anyTime.ReplaceAllString(a.body, `"T"`)
			a.want(t, http.StatusOK, `{"id":2,`+user+`,"profile":{`+profile+`,"created_at":"T","updated_at":"T"}}`)
		}
		wantProfile(change(http.MethodPatch, `{"first_name":"Ann","id":7,"is_staff":true,"is_active":false,"password":"hush"}`),
			`"email":"ann@example.com","username":"ann","first_name":"Ann","last_name":"","phone":"","address":""`, `"avatar":"","preferences":{}`)
		wantProfile(change(http.MethodPut, `{"email":"ANN@example.com","username":"Ann.Other","phone":"+1 2",
			"profile":{"avatar":"https://example.com/a.png","preferences":{"b": [1, 2.50], "a": "<é>"}}}`),
			`"email":"ANN@example.com","username":"Ann.Other","first_name":"Ann","last_name":"","phone":"+1 2","address":""`,
			`"avatar":"https://example.com/a.png","preferences":{"b":[1,2.50],"a":"<é>"}`)
		wantProfile(change(http.MethodPatch, ``),
			`"email":"ANN@example.com","username":"Ann.Other","first_name":"Ann","last_name":"","phone":"+1 2","address":""`,
			`"avatar":"https://example.com/a.png","preferences":{"b":[1,2.50],"a":"<é>"}`)
		wantProfile(s.call(t, http.MethodGet, "/auth/api/profile/", token, ""),
			`"email":"ANN@example.com","username":"Ann.Other","first_name":"Ann","last_name":"","phone":"+1 2","address":""`,
			`"avatar":"https://example.com/a.png","preferences":{"b":[1,2.50],"a":"<é>"}`)

		for body, want := range map[string]string{
			`{"email":"BOB@example.com","username":"BOB"}`: bothTaken,
			`{"profile":[]}`:   `{"profile":["Invalid data. Expected a dictionary, but got list."]}`,
			`{"profile":null}`: `{"profile":["This field may not be null."]}`,
			`{"profile":{"avatar":"javascript:alert(1)"}}`:                        `{"avatar":["Enter a valid URL."]}`,
			`{"profile":{"avatar":7}}`:                                            `{"avatar":["Enter a valid URL."]}`,
			`{"profile":{"avatar":null}}`:                                         `{"avatar":["This field may not be null."]}`,
			`{"profile":{"avatar":{"a":[null]}}}`:                                 `{"avatar":["Not a valid string."]}`,
			`{"profile":{"avatar":"http://a/\u0000"}}`:                            `{"avatar":["Null characters are not allowed."]}`,
			`{"profile":{"preferences":7}}`:                                       `{"preferences":["Expected a dictionary of items but got type \"int\"."]}`,
			`{"profile":{"preferences":null}}`:                                    `{"preferences":["This field may not be null."]}`,
			`{"profile":{"preferences":"{}"}}`:                                    `{"preferences":["Expected a dictionary of items but got type \"str\"."]}`,
			`{"profile":{"preferences":[{}]}}`:                                    `{"preferences":["Expected a dictionary of items but got type \"list\"."]}`,
			`{"profile":{"preferences":{"a":"\u0000"}}}`:                          `{"preferences":["Null characters are not allowed."]}`,
			`{"profile":{"preferences":{"\u0000":1}}}`:                            `{"preferences":["Null characters are not allowed."]}`,
			`{"profile":{"avatar":"http://a/` + strings.Repeat("a", 2000) + `"}}`: `{"avatar":["Ensure this field has no more than 2000 characters."]}`,
			`{"profile":{"preferences":{"a":"` + strings.Repeat("x", preferencesSize) + `"}},"phone":"` + strings.Repeat("1", 33) + `"}`: `{"phone":["Ensure this field has no more than 32 characters."],"preferences":["Ensure this value has no more than 16384 bytes."]}`,
		} {
			change(http.MethodPatch, body).want(t, http.StatusBadRequest, want)
		}
		change(http.MethodPut, `{}`).want(t, http.StatusBadRequest, `{"email":["This field is required."],"username":["This field is required."]}`)
		if caller, err := s.Authenticate(t.Context(), token); err != nil || caller.Staff {
			t.Errorf("the caller is %+v, %v", caller, err)
		}
	})
}

func TestProfileChangesOfDifferentFieldsAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		s.join(t, "ann")
		before, err := s.store.byID(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		phone, address := before, before
		phone.Phone, address.Address = "1", "2"
		for _, change := range []*user{&phone, &address} { // both began with the same row
			if err := s.store.update(t.Context(), before, change); err != nil {
				t.Fatal(err)
			}
		}
		after, err := s.store.byID(t.Context(), 1)
		if err != nil || after.Phone != "1" || after.Address != "2" || !after.UpdatedAt.After(before.UpdatedAt) {
			t.Errorf("phone %q, address %q, changed at %s, %v", after.Phone, after.Address, after.UpdatedAt, err)
		}
	})
}
