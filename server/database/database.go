// Package database opens the shop's one relational store, PostgreSQL or an embedded SQLite file, and
// gives features what they share: transactions that survive a serialization failure, the schema's
// version, and a classification of the errors that matter to a client.
package database

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/libtnb/sqlite"
	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

const (
	maxConnections = 8                // per process, of those that share the processors of PostgreSQL; `pool_max_conns` in its URL overrides it
	sqliteReaders  = 4                // SQLite has one writer at a time; more connections only serve readers
	connectTimeout = 5 * time.Second  // one attempt to reach PostgreSQL
	busyTimeout    = 10 * time.Second // how long a SQLite writer waits for another
	idleTime       = 5 * time.Minute  // after which an unused connection is closed
)

// DB is an open store. The embedded gorm handle is safe for concurrent use; give it a context first
// (`db.WithContext(ctx)`).
type DB struct {
	*gorm.DB
	pool     *sql.DB
	postgres *pgxpool.Pool // what pool takes its connections from; nil with SQLite
	reads    *Lanes[*passenger]
	close    func() error
	embedded bool
	retries  prometheus.Counter
}

// Open prepares the store named by a URL, `postgres://…` or `sqlite:FILE`. PostgreSQL is not contacted
// yet: see [DB.Await]. Tracers are told of each statement that it gets.
func Open(ctx context.Context, rawURL string, tracers ...pgx.QueryTracer) (*DB, error) {
	if file, ok := strings.CutPrefix(rawURL, "sqlite:"); ok {
		return openSQLite(ctx, file)
	}
	return openPostgres(ctx, rawURL, tracers)
}

func openPostgres(ctx context.Context, rawURL string, tracers []pgx.QueryTracer) (*DB, error) {
	config, err := pgxpool.ParseConfig(rawURL)
	if err != nil {
		return nil, fmt.Errorf("read the PostgreSQL URL: %w", err) // pgx redacts the password
	}
	if !strings.Contains(rawURL, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	config.MaxConnIdleTime = idleTime
	config.ConnConfig.ConnectTimeout = connectTimeout
	if len(tracers) > 0 {
		config.ConnConfig.Tracer = multitracer.New(tracers...)
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "shopkeeper"
	}
	config.AfterConnect = Tune
	direct, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("prepare the PostgreSQL pool: %w", err)
	}
	both := &pool{stdlib.OpenDBFromPool(direct), direct}
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: both}), gormConfig())
	if err != nil {
		direct.Close()
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	closeBoth := func() error {
		err := both.Close()
		direct.Close()
		return err
	}
	return &DB{
		DB: db, pool: both.DB, postgres: direct, reads: newReads(int(config.MaxConns)),
		close: closeBoth, retries: newRetries(),
	}, nil
}

// Tune makes a new connection quick.
//
// It tells PostgreSQL's planner, unless somebody has, that what it reads is in memory or on a disk without a moving
// head. Left at the default it passes over indexes for those whose order is that of the rows, and reads a thousand
// products for twenty.
//
// And it has the backend keep memory between statements: see docs/decisions/memory.md.
func Tune(ctx context.Context, connection *pgx.Conn) error {
	_, err := connection.Exec(ctx, `SELECT set_config(name, '1.1', false) FROM pg_settings WHERE name = 'random_page_cost' AND source = 'default'
		UNION ALL SELECT CAST(length(repeat('x', 1048576)) AS text)`)
	return err
}

func openSQLite(ctx context.Context, file string) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return nil, fmt.Errorf("make the folder of the SQLite file: %w", err)
	}
	// Immediate transactions take the write lock at once: two writers queue instead of one failing half way.
	options := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
			"journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)",
		},
	}
	db, err := gorm.Open(sqlite.Open("file:"+file+"?"+options.Encode()), gormConfig())
	if err != nil {
		return nil, fmt.Errorf("open the SQLite file %s: %w", file, err)
	}
	pool, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("open the SQLite file %s: %w", file, err)
	}
	pool.SetMaxOpenConns(sqliteReaders)
	if err := pool.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("open the SQLite file %s: %w", file, err)
	}
	return &DB{DB: db, pool: pool, close: pool.Close, embedded: true, retries: newRetries()}, nil
}

func gormConfig() *gorm.Config {
	return &gorm.Config{
		Logger:                 logger.Discard, // errors are returned, and logged once where they are handled
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		NowFunc:                Now,
	}
}

// Now is the moment as the store keeps it: UTC, whole microseconds, the precision of PostgreSQL.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Embedded reports whether the store is an SQLite file of this process alone.
func (db *DB) Embedded() bool { return db.embedded }

// Ping asks the store for an answer.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.pool.PingContext(ctx); err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	return nil
}

// Await returns when the store answers or ctx ends, and logs each failed attempt with the next one's time.
func (db *DB) Await(ctx context.Context, log *slog.Logger) error {
	const first, last = 250 * time.Millisecond, 5 * time.Second
	for wait := first; ; wait = min(2*wait, last) {
		attempt, cancel := context.WithTimeout(ctx, connectTimeout)
		err := db.Ping(attempt)
		cancel()
		if err == nil {
			return nil
		}
		log.Warn("waiting for the database", "error", err, "retry_in", wait.String())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// Close returns every connection.
func (db *DB) Close() error { return db.close() }
