package database

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/shopkeeper-dev/shopkeeper/server/migrations"
)

// SchemaVersions says how far the schema in the database is, and how far this binary needs it to be.
type SchemaVersions struct {
	Applied, Needed int64
}

// Current reports whether this binary can run. A schema ahead of the binary is fine: migrations keep the
// release before them working.
func (v SchemaVersions) Current() bool { return v.Applied >= v.Needed }

// Schema reads the version recorded in the database; 0 in an empty one.
func (db *DB) Schema(ctx context.Context) (SchemaVersions, error) {
	provider, err := db.migrator()
	if err != nil {
		return SchemaVersions{}, err
	}
	applied, needed, err := provider.GetVersions(ctx)
	if err != nil {
		return SchemaVersions{}, fmt.Errorf("read the schema version: %w", err)
	}
	return SchemaVersions{Applied: applied, Needed: needed}, nil
}

// Migrate applies what is missing, each file in a transaction of its own, and returns the files applied now.
// Processes that migrate one PostgreSQL database at once take turns.
func (db *DB) Migrate(ctx context.Context) ([]string, error) {
	provider, err := db.migrator()
	if err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	var applied []string
	for _, result := range results {
		applied = append(applied, result.Source.Path)
	}
	if err != nil {
		return applied, fmt.Errorf("migrate the schema: %w", err)
	}
	return applied, nil
}

func (db *DB) migrator() (*goose.Provider, error) {
	dialect, folder := goose.DialectPostgres, "postgres"
	var options []goose.ProviderOption
	if db.embedded {
		dialect, folder = goose.DialectSQLite3, "sqlite"
	} else {
		turns, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // asks every second, for five minutes
		if err != nil {
			return nil, fmt.Errorf("prepare the migration lock: %w", err)
		}
		options = append(options, goose.WithSessionLocker(turns))
	}
	files, err := fs.Sub(migrations.Files, folder)
	if err != nil {
		return nil, fmt.Errorf("open the migrations of %s: %w", folder, err)
	}
	provider, err := goose.NewProvider(dialect, db.pool, files, options...)
	if err != nil {
		return nil, fmt.Errorf("read the migrations of %s: %w", folder, err)
	}
	return provider, nil
}
