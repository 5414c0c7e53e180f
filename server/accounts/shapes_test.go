package accounts

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// form is a body that is taken, and what of it is read as text.
type form struct {
	method, path, token string
	good                map[string]any
	longest             map[string]int // in characters, of each text
	optional            []string       // may be missing or empty
}

// forms are the bodies of all routes here, for a user who joins now.
func (s *shop) forms(t *testing.T) []form {
	t.Helper()
	pair := s.join(t, "ann")
	caller, err := s.Authenticate(t.Context(), pair.Access)
	if err != nil {
		t.Fatal(err)
	}
	uid, reset := s.issueReset(t, caller.UserID)
	const unbounded = 10_000 // a text with no bound of its own
	user := map[string]int{"email": 254, "username": 150, "first_name": 150, "last_name": 150, "phone": 32, "address": 1000}
	optional := []string{"first_name", "last_name", "phone", "address"}
	newcomer := maps.Clone(user)
	newcomer["password"], newcomer["password_confirm"] = 128, 128
	profile := map[string]any{"email": "ann@example.com", "username": "ann", "first_name": "", "last_name": "", "phone": "", "address": ""}
	const fresh = "battery staple"
	var registration map[string]any
	if err := json.Unmarshal([]byte(published), &registration); err != nil {
		t.Fatal(err)
	}
	return []form{
		{"POST", "/auth/api/register/", "", registration, newcomer, optional},
		{"POST", "/auth/api/token/", "", map[string]any{"email": "ann@example.com", "password": "correct horse"}, map[string]int{"email": unbounded, "password": unbounded}, nil},
		{"POST", "/auth/api/token/refresh/", "", map[string]any{"refresh": pair.Refresh}, map[string]int{"refresh": unbounded}, nil},
		{"POST", "/auth/api/token/verify/", "", map[string]any{"token": pair.Access}, map[string]int{"token": unbounded}, nil},
		{"POST", "/auth/api/logout/", pair.Access, map[string]any{"refresh": pair.Refresh}, map[string]int{"refresh": unbounded}, nil},
		{"PUT", "/auth/api/profile/", pair.Access, profile, user, optional},
		{"PATCH", "/auth/api/profile/", pair.Access, profile, user, slices.Collect(maps.Keys(user))},
		{
			"POST", "/auth/api/password/change/", pair.Access,
			map[string]any{"old_password": "correct horse", "new_password": fresh, "new_password_confirm": fresh},
			map[string]int{"old_password": unbounded, "new_password": 128, "new_password_confirm": 128}, nil,
		},
		{"POST", "/auth/api/password/reset/", "", map[string]any{"email": "ann@example.com"}, map[string]int{"email": 254}, nil},
		{
			"POST", "/auth/api/password/reset/confirm/", "",
			map[string]any{"uid": uid, "token": reset, "new_password": fresh, "new_password_confirm": fresh},
			map[string]int{"uid": unbounded, "token": unbounded, "new_password": 128, "new_password_confirm": 128}, nil,
		},
	}
}

// wrongShapes of a text field, and what is said of each.
func (f form) wrongShapes(field string) map[string]string {
	shapes := map[string]string{
		`null`: httpapi.NotNull, `true`: httpapi.NotText, `false`: httpapi.NotText, `[]`: httpapi.NotText, `{}`: httpapi.NotText,
		`["a"]`: httpapi.NotText, `{"a":{"b":[1]}}`: httpapi.NotText, strings.Repeat("[", 1000) + strings.Repeat("]", 1000): httpapi.NotText,
		`"\u0000"`: httpapi.NoNull, `"a\u0000b"`: httpapi.NoNull,
		`"` + strings.Repeat("ß", f.longest[field]+1) + `"`:   fmt.Sprintf("Ensure this field has no more than %d characters.", f.longest[field]),
		`"` + strings.Repeat("x", 100_000) + `"`:              fmt.Sprintf("Ensure this field has no more than %d characters.", f.longest[field]),
		`1` + strings.Repeat("0", max(f.longest[field], 400)): fmt.Sprintf("Ensure this field has no more than %d characters.", f.longest[field]),
	}
	if !slices.Contains(f.optional, field) {
		shapes[`""`], shapes[``] = httpapi.NotBlank, httpapi.Required // the last one is left out
	}
	if f.method == http.MethodPatch && !slices.Contains([]string{"first_name", "last_name", "phone", "address"}, field) {
		shapes[`""`] = httpapi.NotBlank
	}
	return shapes
}

func (f form) with(t *testing.T, field, shape string) string {
	t.Helper()
	body := maps.Clone(f.good)
	body[field] = json.RawMessage(shape)
	if shape == "" {
		delete(body, field)
	}
	return encode(t, body)
}

// kept is all that the database holds of users and their logins.
func (s *shop) kept(t *testing.T) string {
	t.Helper()
	var users, logins []map[string]any
	if err := s.store.db.Raw(`SELECT * FROM users ORDER BY id`).Scan(&users).Error; err != nil {
		t.Fatal(err)
	}
	if err := s.store.db.Raw(`SELECT * FROM refresh_families ORDER BY id`).Scan(&logins).Error; err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(users, logins)
}

func TestEveryWrongShapeOfEveryFieldIsRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		forms := s.forms(t)
		before := s.kept(t)
		for _, f := range forms {
			for field := range f.longest {
				for shape, want := range f.wrongShapes(field) {
					answer := s.call(t, f.method, f.path, f.token, f.with(t, field, shape))
					var wrong map[string][]string
					if err := json.Unmarshal([]byte(answer.body), &wrong); err != nil || answer.status != http.StatusBadRequest || !slices.Contains(wrong[field], want) {
						t.Errorf("%s %s with %s %.40s: %d %s, want %s", f.method, f.path, field, shape, answer.status, answer.body, want)
					}
				}
			}
			if after := s.kept(t); after != before {
				t.Fatalf("%s %s changed what is kept:\n%s\n%s", f.method, f.path, before, after)
			}
		}
		if len(s.resets.queue) != 0 {
			t.Errorf("%d mails are to be sent", len(s.resets.queue))
		}
	})
}

func TestEveryWrongBodyIsRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		forms := s.forms(t)
		before := s.kept(t)
		for _, f := range forms {
			for _, body := range []string{
				`null`, `1`, `"text"`, `[]`, `[{}]`, `{`, `}`, `{"email"}`, `{"email":}`, `{"a":1}{"b":2}`, "\xff", "{\"email\":\"\xff\"}", "\x00",
				strings.Repeat(`{"a":`, 20_000), strings.Repeat(`[`, 20_000),
			} {
				answer := s.call(t, f.method, f.path, f.token, body)
				var wrong struct{ Error string }
				if err := json.Unmarshal([]byte(answer.body), &wrong); err != nil || answer.status != http.StatusBadRequest || wrong.Error == "" {
					t.Errorf("%s %s with %.20q: %d %s", f.method, f.path, body, answer.status, answer.body)
				}
			}
		}
		if after := s.kept(t); after != before {
			t.Errorf("what is kept has changed:\n%s\n%s", before, after)
		}
	})
}

// The forms are good but for what is made wrong in them: each is taken as it is.
func TestEveryGoodBodyIsTaken(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		for at := range 10 {
			f := s.forms(t)[at] // anew, for one may end what another needs
			if answer := s.call(t, f.method, f.path, f.token, encode(t, f.good)); answer.status >= http.StatusMultipleChoices {
				t.Errorf("%s %s: %d %s", f.method, f.path, answer.status, answer.body)
			}
			s.exec(t, `DELETE FROM users`)
		}
	})
}
