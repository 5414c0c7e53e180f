package databasetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/hack/scratch"
	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// ForEachEngine runs a test once on PostgreSQL and once on SQLite, each time with an empty database that
// has the current schema.
func ForEachEngine(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { test(t, Open(t, PostgresTemplate(t, migrate))) })
	t.Run("sqlite", func(t *testing.T) {
		content, err := migratedFile()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "shop.db")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		test(t, Open(t, "sqlite:"+file))
	})
}

// migratedFile is an SQLite database that has the current schema.
var migratedFile = sync.OnceValues(func() ([]byte, error) {
	folder, err := scratch.Folder("sqlite")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "shop.db")
	if err := migrate("sqlite:" + file); err != nil {
		return nil, err
	}
	return os.ReadFile(file) //nolint:gosec // which this process wrote
})

// Migrated returns the URL of a PostgreSQL database that has the current schema, dropped when the test ends.
func Migrated(t testing.TB) string {
	t.Helper()
	return PostgresTemplate(t, migrate)
}

// Open opens a database and closes it when the test ends.
func Open(t testing.TB, url string) *database.DB {
	t.Helper()
	db, err := database.Open(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return db
}

func migrate(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	db, err := database.Open(ctx, url)
	if err != nil {
		return err
	}
	_, err = db.Migrate(ctx)
	return errors.Join(err, db.Close())
}
