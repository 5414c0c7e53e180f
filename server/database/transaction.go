package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	sqlite3 "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// PostgreSQL's SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
	serializationFailed = "40001"
	deadlockDetected    = "40P01"
)

const transactionAttempts = 5

// InTx runs fn in one transaction and commits it unless fn fails. fn runs again like that of [DB.Retry], so it
// must have no effect outside tx.
func (db *DB) InTx(ctx context.Context, fn func(tx *gorm.DB) error) error {
	return db.Retry(ctx, func(tx *gorm.DB) error { return tx.Transaction(fn) })
}

// Retry runs fn, which is one statement or one transaction, and runs it again, at most 5 times, when the
// database asks for that: after a deadlock or a serialization failure.
func (db *DB) Retry(ctx context.Context, fn func(db *gorm.DB) error) error {
	for attempt := 1; ; attempt++ {
		err := fn(db.WithContext(ctx))
		if err == nil || attempt == transactionAttempts || !isRetryable(err) {
			return err
		}
		db.retries.Inc()
		pause := time.Duration(rand.Int64N(int64(attempt) * int64(10*time.Millisecond))) //nolint:gosec // jitter need not be unguessable
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Locked makes a query lock the rows it reads until the transaction ends. In SQLite the transaction holds
// the only write lock already.
func Locked(tx *gorm.DB) *gorm.DB {
	if tx.Name() == "sqlite" {
		return tx
	}
	return tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
}

// ForUpdate is [Locked] for a query that is written out: the words that end it.
func ForUpdate(tx *gorm.DB) string {
	if tx.Name() == "sqlite" {
		return ""
	}
	return " FOR UPDATE"
}

// IsDuplicate reports whether a unique constraint refused a row.
func IsDuplicate(err error) bool {
	return sqlState(err) == uniqueViolation ||
		sqliteCode(err) == sqlitelib.SQLITE_CONSTRAINT_UNIQUE ||
		sqliteCode(err) == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY
}

// IsReferenced reports whether a foreign key refused a change.
func IsReferenced(err error) bool {
	return sqlState(err) == foreignKeyViolation || sqliteCode(err) == sqlitelib.SQLITE_CONSTRAINT_FOREIGNKEY
}

// IsUnavailable reports whether the database could not be reached, or stopped before it answered.
func IsUnavailable(err error) bool {
	var connect *pgconn.ConnectError
	var network *net.OpError
	state := sqlState(err)
	switch {
	case errors.As(err, &connect), errors.As(err, &network),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return true
	case len(state) == 5 && (state[:2] == "08" || state[:2] == "57" || state[:2] == "53"):
		return true // connection exception, operator intervention, insufficient resources
	default:
		return sqliteCode(err)&0xff == sqlitelib.SQLITE_BUSY
	}
}

// IsRefused reports whether PostgreSQL answered, and refuses the login or has no such database. Waiting
// does not help.
func IsRefused(err error) bool {
	state := sqlState(err)
	return state == "28P01" || state == "28000" || state == "3D000"
}

func isRetryable(err error) bool {
	state := sqlState(err)
	return state == serializationFailed || state == deadlockDetected || sqliteCode(err)&0xff == sqlitelib.SQLITE_BUSY
}

func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

func sqliteCode(err error) int {
	if lite, ok := errors.AsType[*sqlite3.Error](err); ok {
		return lite.Code()
	}
	return 0
}
