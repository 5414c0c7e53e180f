package app

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/openapi"
	"github.com/shopkeeper-dev/shopkeeper/server/settings"
)

const usage = `The Shopkeeper shop server.

Usage: shopkeeper-server [COMMAND]

  serve               serve the shop (the default)
  migrate up          bring the database's schema up to this server's version
  migrate status      tell the schema's version in the database and the one needed
  seed                fill an empty catalogue with demo products
  import FILE         add the products of a file, .csv or .jsonl; with --atomic before FILE all of them or none
  createadmin EMAIL   make a staff user with SHOP_ADMIN_PASSWORD, or with a password it prints; with
                      --password-stdin before EMAIL the password is the first line of standard input
  openapi             print the API's description in OpenAPI 3.1
  healthcheck         exit 0 if the server of these settings is ready
  version             print the version
  help                print this

Settings, all by environment variable, with their defaults. NAME_FILE may name a file that holds the value
of a variable marked [_FILE].

Traces of requests go to an OpenTelemetry collector if OTEL_EXPORTER_OTLP_ENDPOINT names one, as OTLP over HTTP;
OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES and the other variables of the standard say the rest.

`

// Command runs one command of the server's command line.
func Command(ctx context.Context, version string, args []string) error {
	name := strings.Join(args, " ")
	switch {
	case name == "help" || name == "--help" || name == "-h":
		fmt.Print(usage)
		return settings.Describe(os.Stdout)
	case name == "version" || name == "--version":
		fmt.Println(version)
		return nil
	case name == "openapi":
		document, err := openapi.Document()
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(document)
		return err
	}
	s, err := settings.Load(os.LookupEnv)
	if err != nil {
		return fmt.Errorf("bad settings:\n%w\nThe command help lists them all", err)
	}
	log := newLogger(s, os.Stderr)
	for _, unknown := range settings.Unknown(os.Environ()) {
		log.Warn("unknown setting; the command help lists all there are", "name", unknown)
	}
	return dispatch(ctx, version, s, log, name)
}

func dispatch(ctx context.Context, version string, s settings.Settings, log *slog.Logger, name string) error {
	if name == "healthcheck" {
		return healthcheck(ctx, s)
	}
	a, err := New(ctx, version, s, log)
	if err != nil {
		return err
	}
	email, makeAdmin := strings.CutPrefix(name, "createadmin ")
	file, importFile := strings.CutPrefix(name, "import ")
	switch {
	case name == "" || name == "serve":
		return a.Run(ctx)
	case name == "migrate up":
		return a.once(ctx, a.migrateUp)
	case name == "migrate status":
		return a.once(ctx, a.migrateStatus)
	case name == "seed":
		return a.once(ctx, a.seed)
	case importFile:
		return a.once(ctx, func(ctx context.Context) error { return a.importFile(ctx, file) })
	case makeAdmin:
		return a.once(ctx, func(ctx context.Context) error { return a.createAdmin(ctx, email) })
	default:
		return fmt.Errorf("unknown command %q; the command help lists them", name)
	}
}

func newLogger(s settings.Settings, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "json" {
		return slog.New(httpapi.Correlated(slog.NewJSONHandler(w, options)))
	}
	return slog.New(httpapi.Correlated(slog.NewTextHandler(w, options)))
}

// once runs a command that ends by itself, when the database answers. It ends at once if that refuses the
// login: whoever started the command is told, and has to mend it.
func (a *App) once(ctx context.Context, command func(context.Context) error) error {
	defer a.close()
	if err := a.db.Ping(ctx); database.IsRefused(err) {
		return err
	}
	if err := a.db.Await(ctx, a.log); err != nil {
		return err
	}
	return command(ctx)
}

func (a *App) migrateUp(ctx context.Context) error {
	applied, err := a.db.Migrate(ctx)
	for _, file := range applied {
		a.log.Info("applied", "migration", file)
	}
	if err != nil {
		return err
	}
	schema, err := a.db.Schema(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("schema version %d, %d migrations applied now\n", schema.Applied, len(applied))
	if a.settings.ResultFile == "" {
		return nil
	}
	result, err := json.Marshal(map[string]int64{"schemaVersion": schema.Applied})
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return os.WriteFile(a.settings.ResultFile, result, 0o600)
}

func (a *App) migrateStatus(ctx context.Context) error {
	schema, err := a.db.Schema(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("schema version %d, this server needs %d\n", schema.Applied, schema.Needed)
	if !schema.Current() {
		return errors.New("the schema is not current: run migrate up")
	}
	return nil
}

func (a *App) seed(ctx context.Context) error {
	if err := a.checkSchema(ctx); err != nil {
		return err
	}
	added, err := a.catalog.SeedDemo(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d products added; a catalogue that has products is left as it is\n", added)
	return nil
}

// importFile adds the products of a file and tells how far it is.
func (a *App) importFile(ctx context.Context, name string) error {
	name, atomic := strings.CutPrefix(name, "--atomic ")
	kind := "application/x-ndjson"
	if strings.EqualFold(filepath.Ext(name), ".csv") {
		kind = "text/csv"
	}
	if err := a.checkSchema(ctx); err != nil {
		return err
	}
	file, err := os.Open(name) //nolint:gosec // whoever runs the command names the file
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	report, err := a.catalog.ImportFrom(ctx, file, kind, atomic, func(rows int) { fmt.Fprintln(os.Stderr, rows, "rows") })
	if err != nil {
		return fmt.Errorf("import %s, of which %d rows were imported: %w", name, report.Imported, err)
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("import %s: write the report: %w", name, err)
	}
	fmt.Println(string(text))
	if report.Refused > 0 || report.Error != "" {
		return fmt.Errorf("import %s: %d of %d rows were refused; %d were imported", name, report.Refused, report.Rows, report.Imported)
	}
	return nil
}

func (a *App) createAdmin(ctx context.Context, email string) error {
	if err := a.checkSchema(ctx); err != nil {
		return err
	}
	email, readsPassword := strings.CutPrefix(email, "--password-stdin ")
	password, told := a.settings.AdminPassword, "with the password of SHOP_ADMIN_PASSWORD"
	switch {
	case readsPassword:
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the password: %w", err)
		}
		password, told = strings.TrimRight(line, "\r\n"), "with the password given"
	case password == "":
		password = strings.ToLower(rand.Text()[:16])
		told = "with the password " + password
	}
	created, err := a.accounts.EnsureStaff(ctx, email, password)
	switch {
	case err != nil:
		return err
	case created:
		fmt.Printf("staff user %s made, %s\n", email, told)
	default:
		fmt.Printf("user %s was there already and is staff now; the password stays as it was\n", email)
	}
	return nil
}

// healthcheck asks the server of the same settings whether it is ready.
func healthcheck(ctx context.Context, s settings.Settings) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	address := s.APIAddr
	if !s.API {
		address = s.NotificationsAddr
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+portOf(address)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask for readiness: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask for readiness: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return fmt.Errorf("read the readiness: %w", err)
	}
	fmt.Println(string(body))
	if response.StatusCode != http.StatusOK {
		return errors.New("not ready")
	}
	return nil
}
