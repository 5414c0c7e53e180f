package database

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"
)

const (
	queriesTogether = 4                // in one round trip: a slow one holds so few others
	tripTimeout     = 10 * time.Second // for all of them
)

// passenger is a query that may share a round trip.
type passenger struct {
	*gorm.Statement

	read    func(rows pgx.Rows) error
	arrived bool // whether it was read
}

// newReads leaves half of the connections to others.
func newReads(connections int) *Lanes[*passenger] {
	return NewLanes(max(connections/2, 1), func(together []*passenger, _ *passenger) bool { return len(together) < queriesTogether })
}

// SelectTogether is [Select] outside of a transaction, for short queries of which there may be many at once: all that
// come this way leave half of PostgreSQL's connections to others, and share round trips when they are more than that.
// One that is traced goes by itself, for its trace to show it.
func SelectTogether[T any](db *DB, query *gorm.DB, columns func(row *T) []any) (found []T, err error) {
	if db.Embedded() || trace.SpanContextFromContext(query.Statement.Context).IsSampled() {
		return Select(query, columns)
	}
	one := &passenger{read: func(rows pgx.Rows) (err error) {
		found, err = collect(rows, columns)
		return err
	}}
	if one.Statement, err = written(query); err != nil {
		return nil, err
	}
	alone := func() {
		found, err = selectDirectly(one.Statement, db.postgres, columns)
		one.arrived = true
	}
	waited := db.reads.Pass(one.Context, one, func(together []*passenger) {
		if len(together) == 1 {
			alone()
		} else {
			travel(db.postgres, together)
		}
	})
	if waited != nil {
		return nil, waited
	}
	if !one.arrived { // one of those that went together failed; who it was is seen when each goes by itself
		alone()
	}
	return found, err
}

// travel runs queries in one round trip. What goes wrong is told by those that do not arrive.
func travel(postgres *pgxpool.Pool, together []*passenger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(together[0].Context), tripTimeout)
	defer cancel()
	var batch pgx.Batch
	for _, one := range together {
		batch.Queue(one.SQL.String(), one.Vars...).Query(func(rows pgx.Rows) error {
			err := one.read(rows)
			one.arrived = err == nil
			return err
		})
	}
	_ = postgres.SendBatch(ctx, &batch).Close()
}
