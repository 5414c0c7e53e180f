package settings

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
)

var variables = []variable{
	{
		name: "SHOP_DATABASE_URL", fallback: "sqlite:shop.db", secret: true,
		about:   "the database",
		allowed: "postgres://USER:PASSWORD@HOST:PORT/NAME or sqlite:FILE",
		read: func(s *Settings, text string) error {
			return schemed(&s.DatabaseURL, text, "postgres", "postgresql", "sqlite")
		},
	},
	{
		name: "SHOP_REDIS_URL", fallback: "embedded", secret: true,
		about:   "Redis or Valkey, alone, of a Cluster or, with ?master_name=NAME&addr=HOST:PORT…, Sentinels of it; embedded is one inside this process",
		allowed: "redis://:PASSWORD@HOST:PORT/0, rediss://… or embedded",
		read: func(s *Settings, text string) error {
			if text == "embedded" {
				s.RedisURL = text
				return nil
			}
			return schemed(&s.RedisURL, text, "redis", "rediss")
		},
	},
	{
		name: "SHOP_ROLES", fallback: "api,notifications",
		about:   "what this process serves",
		allowed: "api, notifications, or both with a comma between them",
		read:    readRoles,
	},
	{
		name: "SHOP_API_ADDR", fallback: ":8000",
		about: "where the REST API listens", allowed: "HOST:PORT or :PORT",
		read: func(s *Settings, text string) error { return address(&s.APIAddr, text) },
	},
	{
		name: "SHOP_NOTIFICATIONS_ADDR", fallback: ":8001",
		about: "where the WebSocket notifications listen", allowed: "HOST:PORT or :PORT",
		read: func(s *Settings, text string) error { return address(&s.NotificationsAddr, text) },
	},
	{
		name: "SHOP_METRICS_ADDR", fallback: ":9090",
		about: "where /metrics listens; off for none", allowed: "HOST:PORT, :PORT or off",
		read: func(s *Settings, text string) error {
			if text == "off" {
				return nil
			}
			return address(&s.MetricsAddr, text)
		},
	},
	{
		name: "SHOP_SIGNING_KEYS", secret: true,
		about:   "keys of the tokens; the first signs, all verify; made and kept in the database if not set",
		allowed: "KID:SECRET, and more of them with commas between, a secret of 32 characters or more, or a JWK Set",
		read:    func(s *Settings, text string) error { s.SigningKeys = text; return nil },
	},
	{
		name: "SHOP_ISSUER", fallback: "shopkeeper",
		about: "the shop's name in its tokens; another shop's tokens are no good here", allowed: "a name of 1 to 200 characters",
		read: func(s *Settings, text string) error {
			s.Issuer = text
			return check(utf8.RuneCountInString(text) <= 200, "too long")
		},
	},
	{
		name: "SHOP_ADMIN_EMAIL", about: "a staff user to make at start if it is missing", allowed: "an email address",
		read: func(s *Settings, text string) error {
			s.AdminEmail = text
			return check(text == "" || strings.Contains(text, "@"), "not an email address")
		},
	},
	{
		name: "SHOP_ADMIN_PASSWORD", secret: true, about: "that user's password, for as long as the user sets no other; when this one changes, it is the user's again", allowed: "8 to 128 characters",
		read: func(s *Settings, text string) error {
			s.AdminPassword = text
			length := utf8.RuneCountInString(text)
			return check(length == 0 || length >= 8 && length <= 128, "a bad length")
		},
	},
	{
		name: "SHOP_PUBLIC_URL", about: "where clients reach the API", allowed: "an http or https URL",
		read: func(s *Settings, text string) error {
			if text == "" {
				return nil
			}
			return schemed(&s.PublicURL, text, "http", "https")
		},
	},
	{
		name: "SHOP_SMTP_URL", secret: true,
		about:   "the mail server for password resets; if not set, mail is shown in the log, on SQLite only",
		allowed: "smtp://USER:PASSWORD@HOST:PORT?from=ADDRESS or smtps://…",
		read: func(s *Settings, text string) error {
			if text == "" {
				return nil
			}
			return schemed(&s.SMTPURL, text, "smtp", "smtps")
		},
	},
	{
		name: "SHOP_TRUSTED_PROXIES", about: "whose X-Forwarded-* headers are believed",
		allowed: "addresses or CIDR ranges with commas between them, such as 10.0.0.0/8",
		read:    readProxies,
	},
	{
		name: "SHOP_PUBLIC_CATALOG", fallback: "false",
		about: "products and categories can be read without a token", allowed: "true or false",
		read: func(s *Settings, text string) (err error) {
			s.PublicCatalog, err = strconv.ParseBool(text)
			return brief(err)
		},
	},
	{
		name: "SHOP_ALLOWED_ORIGINS", about: "web origins that may open a socket besides the shop's own host",
		allowed: "origins with commas between them, such as https://shop.example.com; * for any",
		read:    func(s *Settings, text string) error { return origins(&s.AllowedOrigins, text) },
	},
	{
		name: "SHOP_CORS_ORIGINS", about: "web origins whose scripts may use the API",
		allowed: "origins with commas between them, such as https://shop.example.com; * for any",
		read:    func(s *Settings, text string) error { return origins(&s.CORSOrigins, text) },
	},
	{
		name: "SHOP_RATE_LIMITS", fallback: "login=10/m,register=5/m,reset=3/m,anonymous=120/m,user=600/m",
		about:   "how often each user, or address without a token, may ask; over all pods",
		allowed: "off, or NAME=COUNT/UNIT with commas between them, of login, register, reset, anonymous and user, per s, m, h or d",
		read: func(s *Settings, text string) (err error) {
			s.RateLimits, err = ratelimit.Parse(text)
			return err
		},
	},
	{
		name: "SHOP_ACCESS_TOKEN_TTL", fallback: "15m", about: "how long an access token is good",
		allowed: "a duration from 1m to 24h, such as 15m",
		read: func(s *Settings, text string) error {
			return duration(&s.AccessTokenTTL, text, time.Minute, 24*time.Hour)
		},
	},
	{
		name: "SHOP_REFRESH_TOKEN_TTL", fallback: "168h", about: "how long a refresh token is good",
		allowed: "a duration from 1m to 8760h, such as 168h",
		read: func(s *Settings, text string) error {
			return duration(&s.RefreshTokenTTL, text, time.Minute, 8760*time.Hour)
		},
	},
	{
		name: "SHOP_DRAIN_SECONDS", fallback: "5", about: "over how long sockets are closed when the server stops",
		allowed: "a whole number from 0 to 3600",
		read:    readDrain,
	},
	{
		name: "SHOP_LOG_FORMAT", fallback: "text", about: "text or json", allowed: "text or json",
		read: func(s *Settings, text string) error {
			s.LogFormat = text
			return check(text == "text" || text == "json", "unknown format")
		},
	},
	{
		name: "SHOP_LOG_LEVEL", fallback: "info", about: "debug, info, warn or error", allowed: "debug, info, warn or error",
		read: func(s *Settings, text string) error {
			return check(s.LogLevel.UnmarshalText([]byte(text)) == nil, "unknown level")
		},
	},
	{
		name: "SHOP_RESULT_FILE", about: "where migrate up leaves the schema version as JSON", allowed: "a file name",
		read: func(s *Settings, text string) error { s.ResultFile = text; return nil },
	},
}

func check(ok bool, complaint string) error {
	if ok {
		return nil
	}
	return errors.New(complaint)
}

// brief replaces an error of the standard library, whose text repeats the value.
func brief(err error) error { return check(err == nil, "not understood") }

func schemed(target *string, text string, schemes ...string) error {
	*target = text
	parsed, err := url.Parse(text)
	if err != nil {
		return errors.New("not a URL") // the library's text would show the password
	}
	for _, scheme := range schemes {
		if parsed.Scheme == scheme {
			return check(parsed.Host != "" || scheme == "sqlite" && parsed.Opaque+parsed.Path != "", "incomplete")
		}
	}
	return errors.New("unknown kind of URL")
}

func address(target *string, text string) error {
	*target = text
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return errors.New("not an address")
	}
	number, err := strconv.Atoi(port)
	return check(err == nil && number >= 0 && number <= 65535, "not a port")
}

func duration(target *time.Duration, text string, lowest, highest time.Duration) error {
	value, err := time.ParseDuration(text)
	*target = value
	if err != nil {
		return errors.New("not a duration")
	}
	return check(value >= lowest && value <= highest, "out of bounds")
}

func readDrain(s *Settings, text string) error {
	seconds, err := strconv.Atoi(text)
	s.Drain = time.Duration(seconds) * time.Second
	return check(err == nil && seconds >= 0 && seconds <= 3600, "out of bounds")
}

func readRoles(s *Settings, text string) error {
	for _, role := range list(text) {
		switch role {
		case "api":
			s.API = true
		case "notifications":
			s.Notifications = true
		default:
			return errors.New("unknown role")
		}
	}
	return check(s.API || s.Notifications, "no role")
}

func readProxies(s *Settings, text string) error {
	s.TrustedProxies = list(text)
	for _, proxy := range s.TrustedProxies {
		_, notRange := netip.ParsePrefix(proxy)
		_, notAddress := netip.ParseAddr(proxy)
		if notRange != nil && notAddress != nil {
			return errors.New("not an address or a range")
		}
	}
	return nil
}

func origins(target *[]string, text string) error {
	*target = nil
	for _, origin := range list(text) {
		origin = strings.TrimSuffix(origin, "/")
		parsed, err := url.Parse(origin)
		if origin != "*" && (err != nil || parsed.Host == "" || origin != parsed.Scheme+"://"+parsed.Host) {
			return errors.New("not an origin")
		}
		*target = append(*target, origin)
	}
	return nil
}

func list(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
