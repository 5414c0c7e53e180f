// Package settings reads the server's environment variables, the only place where the operator and the
// server meet. Every variable has a default, so that the server runs alone with none.
package settings

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/ratelimit"
)

// Settings is what the server was told. Secret values never appear in an error or a log line.
type Settings struct {
	DatabaseURL       string
	RedisURL          string
	API               bool // serve the REST API
	Notifications     bool // serve the WebSocket notifications
	APIAddr           string
	NotificationsAddr string
	MetricsAddr       string
	SigningKeys       string // empty: made at first start and kept in the database
	Issuer            string
	AdminEmail        string
	AdminPassword     string
	PublicURL         string
	SMTPURL           string // empty: no mail is sent
	TrustedProxies    []string
	PublicCatalog     bool
	AllowedOrigins    []string
	CORSOrigins       []string
	RateLimits        ratelimit.Limits
	AccessTokenTTL    time.Duration
	RefreshTokenTTL   time.Duration
	Drain             time.Duration
	LogFormat         string
	LogLevel          slog.Level
	ResultFile        string // where `migrate up` writes the schema version, for the operator to read
}

// variable is one environment variable: its documentation and how it is read.
type variable struct {
	name     string
	fallback string
	secret   bool // its value is never shown, and NAME_FILE may name a file that holds it
	about    string
	allowed  string // completes "want …"
	read     func(s *Settings, text string) error
}

// Load reads every variable and reports all that are wrong at once. lookup is [os.LookupEnv].
func Load(lookup func(name string) (string, bool)) (Settings, error) {
	var settings Settings
	var wrong []error
	for _, v := range variables {
		text, source, err := v.find(lookup)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if err := v.read(&settings, text); err != nil {
			wrong = append(wrong, v.complaint(source, text, err))
		}
	}
	if settings.AdminEmail != "" && settings.AdminPassword == "" {
		wrong = append(wrong, errors.New("SHOP_ADMIN_EMAIL is set without SHOP_ADMIN_PASSWORD: set both, or neither"))
	}
	return settings, errors.Join(wrong...)
}

// find returns the variable's text and the name of the variable it came from.
func (v variable) find(lookup func(string) (string, bool)) (text, source string, err error) {
	if text, ok := lookup(v.name); ok && text != "" {
		return text, v.name, nil
	}
	if !v.secret {
		return v.fallback, v.name, nil
	}
	source = v.name + "_FILE"
	file, ok := lookup(source)
	if !ok || file == "" {
		return v.fallback, v.name, nil
	}
	content, err := os.ReadFile(file) //nolint:gosec // the operator of the server names the file
	if err != nil {
		return "", source, fmt.Errorf("%s: %w; name a file that the server may read", source, err)
	}
	return strings.TrimSpace(string(content)), source, nil
}

func (v variable) complaint(source, text string, cause error) error {
	shown := fmt.Sprintf("=%q", text)
	if v.secret {
		shown = " (its value is not shown)"
	}
	return fmt.Errorf("%s%s: %w; want %s", source, shown, cause, v.allowed)
}

// Unknown lists the SHOP_ variables of an environment that the server does not know, typing errors as a
// rule. Those that Kubernetes makes for a Service named shop… are left out.
func Unknown(environ []string) []string {
	known := map[string]bool{}
	for _, v := range variables {
		known[v.name] = true
		known[v.name+"_FILE"] = v.secret
	}
	var unknown []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "SHOP_") && !known[name] && !strings.Contains(name, "_SERVICE_") && !strings.Contains(name, "_PORT") {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	return unknown
}

// Describe writes the table of all variables.
func Describe(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range variables {
		name, fallback := v.name, v.fallback
		if v.secret {
			name += "[_FILE]"
		}
		if fallback == "" {
			fallback = "-"
		}
		if _, err := fmt.Fprintf(table, "  %s\t%s\t%s\n", name, fallback, v.about); err != nil {
			return err
		}
	}
	return table.Flush()
}
