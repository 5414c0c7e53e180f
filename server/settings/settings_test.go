package settings_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/settings"
)

func load(t *testing.T, environment map[string]string) (settings.Settings, error) {
	t.Helper()
	return settings.Load(func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	})
}

func TestEverySettingHasADefault(t *testing.T) {
	s, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.DatabaseURL != "sqlite:shop.db" || s.RedisURL != "embedded" || !s.API || !s.Notifications ||
		s.APIAddr != ":8000" || s.NotificationsAddr != ":8001" || s.MetricsAddr != ":9090" ||
		s.AccessTokenTTL != 15*time.Minute || s.RefreshTokenTTL != 7*24*time.Hour || s.PublicCatalog {
		t.Errorf("the defaults are %+v", s)
	}
}

func TestBadSettingsAreNamedWithTheirValueAndTheCure(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"SHOP_DATABASE_URL", "mysql://shop:hush@db/shop", "SHOP_DATABASE_URL (its value is not shown): unknown kind of URL; want postgres://"},
		{"SHOP_DATABASE_URL", "postgres://shop:hush@db:port/shop", "SHOP_DATABASE_URL (its value is not shown): not a URL"},
		{"SHOP_DATABASE_URL", "postgres:", "incomplete"},
		{"SHOP_REDIS_URL", "http://:hush@cache", "SHOP_REDIS_URL (its value is not shown): unknown kind of URL; want redis://"},
		{"SHOP_ROLES", "api,notification", `SHOP_ROLES="api,notification": unknown role; want api, notifications, or both`},
		{"SHOP_ROLES", ",", "no role"},
		{"SHOP_API_ADDR", "8000", `SHOP_API_ADDR="8000": not an address; want HOST:PORT or :PORT`},
		{"SHOP_NOTIFICATIONS_ADDR", ":70000", "not a port"},
		{"SHOP_METRICS_ADDR", ":metrics", "not a port"},
		{"SHOP_ISSUER", strings.Repeat("x", 201), "too long"},
		{"SHOP_ADMIN_EMAIL", "root", "not an email address"},
		{"SHOP_ADMIN_EMAIL", "root@example.com", "set without SHOP_ADMIN_PASSWORD"},
		{"SHOP_ADMIN_PASSWORD", "hush", "SHOP_ADMIN_PASSWORD (its value is not shown): a bad length; want 8 to 128 characters"},
		{"SHOP_ADMIN_PASSWORD", "hushühü", "a bad length"}, // of bytes there are enough
		{"SHOP_PUBLIC_URL", "shop.example.com", "SHOP_PUBLIC_URL"},
		{"SHOP_SMTP_URL", "mail.example.com:587", "SHOP_SMTP_URL (its value is not shown): unknown kind of URL; want smtp://USER"},
		{"SHOP_SMTP_URL", "smtp://shop:hush@mail:port", "SHOP_SMTP_URL (its value is not shown): not a URL"},
		{"SHOP_TRUSTED_PROXIES", "10.0.0.0/8, proxy", "not an address or a range; want addresses or CIDR ranges"},
		{"SHOP_PUBLIC_CATALOG", "maybe", `SHOP_PUBLIC_CATALOG="maybe": not understood; want true or false`},
		{"SHOP_ALLOWED_ORIGINS", "shop.example.com", "not an origin"},
		{"SHOP_CORS_ORIGINS", "https://shop.example.com/page", "not an origin; want origins with commas"},
		{"SHOP_RATE_LIMITS", "login=5/m,logon=3/m", `unknown limit "logon"; want off, or NAME=COUNT/UNIT`},
		{"SHOP_RATE_LIMITS", "login=5/w", "login: not a rate"},
		{"SHOP_RATE_LIMITS", "login=0/m", "login: out of bounds"},
		{"SHOP_ACCESS_TOKEN_TTL", "15", "not a duration; want a duration from 1m to 24h"},
		{"SHOP_ACCESS_TOKEN_TTL", "48h", "out of bounds"},
		{"SHOP_REFRESH_TOKEN_TTL", "1s", "out of bounds"},
		{"SHOP_DRAIN_SECONDS", "-1", "out of bounds; want a whole number from 0 to 3600"},
		{"SHOP_LOG_FORMAT", "xml", "unknown format; want text or json"},
		{"SHOP_LOG_LEVEL", "loud", "unknown level; want debug, info, warn or error"},
		{"SHOP_DATABASE_URL_FILE", "/no/such/file", "SHOP_DATABASE_URL_FILE"},
	} {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			_, err := load(t, map[string]string{test.name: test.value})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to contain %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hush") {
				t.Errorf("%v shows a secret", err)
			}
		})
	}
}

func TestAllBadSettingsAreReportedAtOnce(t *testing.T) {
	_, err := load(t, map[string]string{"SHOP_ROLES": "x", "SHOP_LOG_FORMAT": "x"})
	if err == nil || !strings.Contains(err.Error(), "SHOP_ROLES") || !strings.Contains(err.Error(), "SHOP_LOG_FORMAT") {
		t.Errorf("got %v, want both named", err)
	}
}

func TestSecretsMayComeFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte("postgres://shop:hush@db:5432/shop\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := load(t, map[string]string{"SHOP_DATABASE_URL_FILE": file, "SHOP_ROLES": "notifications"})
	if err != nil || s.DatabaseURL != "postgres://shop:hush@db:5432/shop" || s.API || !s.Notifications {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestUnknownFindsTypingErrorsOnly(t *testing.T) {
	got := settings.Unknown([]string{
		"PATH=/bin", "SHOP_ROLES=api", "SHOP_DATABSE_URL=x", "SHOP_DATABASE_URL_FILE=x",
		"SHOP_API_SERVICE_HOST=10.0.0.1", "SHOP_API_PORT_8000_TCP=tcp://10.0.0.1:8000",
	})
	if !slices.Equal(got, []string{"SHOP_DATABSE_URL"}) {
		t.Errorf("got %v", got)
	}
}

func TestDescribeNamesEveryVariable(t *testing.T) {
	var table strings.Builder
	if err := settings.Describe(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SHOP_DATABASE_URL[_FILE]", "sqlite:shop.db", "SHOP_RESULT_FILE", "SHOP_LOG_LEVEL"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %s:\n%s", want, table.String())
		}
	}
}
