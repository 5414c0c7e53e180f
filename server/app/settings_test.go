package app

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// claims is what a token says, whoever signed it.
func claims(t *testing.T, token string) (header, payload map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	for i, target := range []*map[string]any{&header, &payload} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, target); err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

func TestTokensAreAsTheSettingsSay(t *testing.T) {
	const keys = "SHOP_SIGNING_KEYS=new:" + "0123456789abcdef0123456789abcdef" + ",old:" + "fedcba9876543210fedcba9876543210"
	s := openShop(t, keys, "SHOP_ISSUER=acme", "SHOP_ACCESS_TOKEN_TTL=2m", "SHOP_REFRESH_TOKEN_TTL=3h")
	one := s.register()
	for token, want := range map[string]struct {
		kind string
		life time.Duration
	}{one.access: {"access", 2 * time.Minute}, one.refresh: {"refresh", 3 * time.Hour}} {
		header, said := claims(t, token)
		begin, _ := said["iat"].(float64)
		end, _ := said["exp"].(float64)
		if life := time.Duration(end-begin) * time.Second; said["token_type"] != want.kind || life != want.life {
			t.Errorf("an %s token lives for %s, want %+v", said["token_type"], life, want)
		}
		if header["kid"] != "new" || said["iss"] != "acme" {
			t.Errorf("it says %v %v", header, said)
		}
	}
}

// A server of a developer shows mail in its log. Any other one, without a mail server, shows it nowhere.
func TestMailWithoutAMailServer(t *testing.T) {
	for name, test := range map[string]struct {
		settings []string
		shown    bool
	}{
		"sqlite":   {[]string{"SHOP_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "shop.db"), "SHOP_REDIS_URL=embedded"}, true},
		"postgres": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			var log lockedLog
			s := openLogged(t, &log, test.settings...)
			for _, email := range []string{"nobody@example.com", adminEmail} {
				s.must(200, request{method: "POST", path: "/auth/api/password/reset/", body: `{"email": "` + email + `"}`})
			}
			link := func() int { return log.with("/auth/api/password/reset/confirm/#", "to="+adminEmail) }
			for deadline := time.Now().Add(patience); test.shown && link() == 0; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					break
				}
			}
			if (link() == 1) != test.shown {
				t.Errorf("the log has %d links:\n%s", link(), log.String())
			}
		})
	}
}
