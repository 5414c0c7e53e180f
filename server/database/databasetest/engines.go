package databasetest

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// ForEachEngine runs a test once on PostgreSQL and once on SQLite, each time with an empty database that
// has the current schema.
func ForEachEngine(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { test(t, Open(t, PostgresTemplate(t, migrate))) })
	t.Run("sqlite", func(t *testing.T) {
		url := "sqlite:" + filepath.Join(t.TempDir(), "shop.db")
		if err := migrate(url); err != nil {
			t.Fatal(err)
		}
		test(t, Open(t, url))
	})
}

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
