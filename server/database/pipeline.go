package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"gorm.io/gorm"
)

// Statement is one of PostgreSQL, whose arguments are $1, $2 and so on.
type Statement struct {
	SQL       string
	Arguments []any
}

const commitTimeout = 5 * time.Second

// ErrUncertain is that of a transaction whose commit was not answered: it may have happened or not.
var ErrUncertain = errors.New("the commit was not answered")

// SelectAtOnce runs statements as one transaction, in one round trip to PostgreSQL and one more for the commit,
// and returns the rows of the last, see [Select]. Each statement sees what is committed when it begins, that is
// after those before it have waited for their locks. Like [DB.Retry] it tries again. But for [ErrUncertain] an
// error means that nothing happened.
func SelectAtOnce[T any](ctx context.Context, db *DB, statements []Statement, columns func(row *T) []any) (found []T, err error) {
	err = db.Retry(ctx, func(*gorm.DB) error {
		connection, err := db.postgres.Acquire(ctx)
		if err != nil {
			return err
		}
		defer connection.Release()
		if found, err = selectLast(ctx, connection, statements, columns); err != nil {
			_, _ = connection.Exec(ctx, "ROLLBACK") // a connection that cannot is closed, which does the same
			return err
		}
		return commit(ctx, connection)
	})
	return found, err
}

// commit is not sent with the rest of a transaction: whose time is up while it waits for a lock must not commit once it
// has it. Whoever has begun to commit waits for the answer.
func commit(ctx context.Context, connection *pgxpool.Conn) error {
	if ctx.Err() != nil {
		return ctx.Err() // and the pool closes a connection that is amid a transaction
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	_, err := connection.Exec(ctx, "COMMIT")
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if err == nil || pgconn.SafeToRetry(err) || ok && refused.SeverityUnlocalized == "ERROR" {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err) // a backend that ends may have committed before
}

// selectLast begins a transaction.
func selectLast[T any](ctx context.Context, connection *pgxpool.Conn, statements []Statement, columns func(row *T) []any) (found []T, err error) {
	var batch pgx.Batch
	last := batch.Queue("BEGIN")
	for _, s := range statements {
		last = batch.Queue(s.SQL, s.Arguments...)
	}
	last.Query(func(rows pgx.Rows) (err error) {
		found, err = collect(rows, columns)
		return err
	})
	err = connection.SendBatch(ctx, &batch).Close()
	return found, err
}

// SelectInTx is [SelectAtOnce] within a transaction, a statement after the other.
func SelectInTx[T any](tx *gorm.DB, statements []Statement, columns func(row *T) []any) (found []T, err error) {
	last := len(statements) - 1
	for _, s := range statements[:last] {
		if err := tx.Exec(s.SQL, s.Arguments...).Error; err != nil {
			return nil, err
		}
	}
	return Select(tx.Raw(statements[last].SQL, statements[last].Arguments...), columns)
}
