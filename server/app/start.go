package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"

	"github.com/shopkeeper-dev/shopkeeper/server/tokens"
)

// StaffEmail is the staff user that a server on its embedded database makes for itself.
const StaffEmail = "admin@example.com"

// checkSchema refuses a PostgreSQL schema that is not current: migrating it is a step of its own, taken
// once and not by every pod. An SQLite file belongs to this process, which migrates it.
func (a *App) checkSchema(ctx context.Context) error {
	if a.db.Embedded() {
		_, err := a.db.Migrate(ctx)
		return err
	}
	schema, err := a.db.Schema(ctx)
	if err != nil {
		return err
	}
	if !schema.Current() {
		return fmt.Errorf("the database has schema version %d and this server needs %d: run the command %q with the same settings first",
			schema.Applied, schema.Needed, "migrate up")
	}
	return nil
}

// loadKeys makes tokens signed by the keys of the database, unless the settings brought some.
func (a *App) loadKeys(ctx context.Context) error {
	if a.settings.SigningKeys != "" {
		return nil
	}
	keys, err := tokens.LoadOrMakeKeys(ctx, a.db)
	if err != nil {
		return err
	}
	a.tokens.Use(keys)
	return nil
}

// firstSteps makes the staff user that the settings ask for. On the embedded default it also makes one of
// its own and fills an empty catalogue, so that there is something to try at once.
func (a *App) firstSteps(ctx context.Context) error {
	if !a.settings.API {
		return nil
	}
	a.warnOfMail()
	if a.settings.AdminEmail != "" {
		if err := a.accounts.KeepStaff(ctx, a.settings.AdminEmail, a.settings.AdminPassword); err != nil {
			return fmt.Errorf("make the staff user of SHOP_ADMIN_EMAIL: %w", err)
		}
	}
	if !a.db.Embedded() {
		return nil
	}
	if _, err := a.catalog.SeedDemo(ctx); err != nil {
		return err
	}
	return a.welcome(ctx)
}

// warnOfMail says what a user who forgot the password would find out too late.
func (a *App) warnOfMail() {
	switch {
	case a.db.Embedded():
	case a.settings.SMTPURL == "":
		a.log.Warn("password resets cannot be mailed: set SHOP_SMTP_URL")
	case a.settings.PublicURL == "":
		a.log.Warn("the links in mail lead nowhere: set SHOP_PUBLIC_URL")
	}
}

// welcome tells whoever started a server by hand where it is and how to log in.
func (a *App) welcome(ctx context.Context) error {
	login := "as " + a.settings.AdminEmail + ", with the password of SHOP_ADMIN_PASSWORD"
	if a.settings.AdminEmail == "" {
		var err error
		if login, err = a.ownStaff(ctx); err != nil {
			return err
		}
	}
	fmt.Printf(`
The shop is open, on the database %s.
  REST API        http://localhost%s/api/products/
  documentation   http://localhost%s/api/docs/
  notifications   ws://localhost%s/ws/notifications/{user_id}/
  staff login     %s

`, strings.TrimPrefix(a.settings.DatabaseURL, "sqlite:"), portOf(a.settings.APIAddr), portOf(a.settings.APIAddr), portOf(a.settings.NotificationsAddr), login)
	return nil
}

// ownStaff makes the embedded database's own staff user once. The password is made at random, shown once
// and kept beside the database in a file that only its owner can read.
func (a *App) ownStaff(ctx context.Context) (login string, err error) {
	file := strings.TrimPrefix(a.settings.DatabaseURL, "sqlite:") + ".staff-password"
	password := strings.ToLower(rand.Text()[:16])
	created, err := a.accounts.EnsureStaff(ctx, StaffEmail, password)
	if err != nil {
		return "", fmt.Errorf("make the staff user: %w", err)
	}
	if !created {
		return fmt.Sprintf("%s, with the password in %s", StaffEmail, file), nil
	}
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the staff user's password: %w", err)
	}
	return fmt.Sprintf("%s, password %s (kept in %s)", StaffEmail, password, file), nil
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':'):] }
