package database

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"
)

const (
	laneQueries = 4                // of those that wait, in one round trip: a slow one holds so few others
	laneTimeout = 10 * time.Second // for all of them
)

// Lanes run queries of one kind of row, and leave half of PostgreSQL's connections to others. While all lanes are
// taken, queries that wait share a round trip and so cost both sides much less; one that finds a lane free goes by
// itself, at once. So does one that is traced, for its trace to show it.
type Lanes[T any] struct {
	columns func(row *T) []any

	mutex   sync.Mutex
	free    int
	waiting []*passenger[T]
}

// passenger is a query that waits for a lane.
type passenger[T any] struct {
	*gorm.Statement

	turn    chan []*passenger[T] // gets those to take along, itself the first, or nil when it was taken along
	found   []T
	arrived bool
}

// NewLanes makes the lanes of a kind of query; columns are those of [Select].
func NewLanes[T any](db *DB, columns func(row *T) []any) *Lanes[T] {
	lanes := &Lanes[T]{columns: columns}
	if !db.Embedded() {
		lanes.free = max(int(db.postgres.Config().MaxConns)/2, 1)
	}
	return lanes
}

// Select is [Select] for a query outside of a transaction.
func (l *Lanes[T]) Select(query *gorm.DB) ([]T, error) {
	shared, ok := query.Statement.ConnPool.(*pool)
	if !ok || trace.SpanContextFromContext(query.Statement.Context).IsSampled() {
		return Select(query, l.columns)
	}
	statement, err := written(query)
	if err != nil {
		return nil, err
	}
	one := l.enter(statement)
	if one == nil {
		defer l.leave()
		return selectDirectly(statement, shared.postgres, l.columns)
	}
	if err := l.travel(one, shared); err != nil {
		return nil, err
	}
	if !one.arrived { // one of those that went together failed; who it was is seen when each goes by itself
		return selectDirectly(statement, shared.postgres, l.columns)
	}
	return one.found, nil
}

// enter takes a lane, or has the query wait for one.
func (l *Lanes[T]) enter(statement *gorm.Statement) *passenger[T] {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.free > 0 {
		l.free--
		return nil
	}
	one := &passenger[T]{Statement: statement, turn: make(chan []*passenger[T], 1)}
	l.waiting = append(l.waiting, one)
	return one
}

// travel returns when the query is done, in a round trip that this one or another that waited sends.
func (l *Lanes[T]) travel(one *passenger[T], shared *pool) error {
	var together []*passenger[T]
	select {
	case together = <-one.turn:
	case <-one.Context.Done():
		if l.withdraw(one) {
			return one.Context.Err()
		}
		together = <-one.turn // just now
	}
	if together != nil {
		defer l.leave()
		l.send(together, shared)
	}
	return nil
}

// withdraw is false when the query's turn has come.
func (l *Lanes[T]) withdraw(one *passenger[T]) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	at := slices.Index(l.waiting, one)
	if at < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, at, at+1)
	return true
}

// leave gives a lane to those that have waited longest.
func (l *Lanes[T]) leave() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	count := min(len(l.waiting), laneQueries)
	if count == 0 {
		l.free++
		return
	}
	together := slices.Clone(l.waiting[:count])
	l.waiting = slices.Delete(l.waiting, 0, count)
	together[0].turn <- together
}

// send runs queries in one round trip. It tells each but the first, which waits for it, when it is done.
func (l *Lanes[T]) send(together []*passenger[T], shared *pool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(together[0].Context), laneTimeout)
	defer cancel()
	var batch pgx.Batch
	for n, one := range together {
		batch.Queue(one.SQL.String(), one.Vars...).Query(func(rows pgx.Rows) (err error) {
			one.found, err = collect(rows, l.columns)
			one.arrived = err == nil
			if one.arrived && n > 0 {
				one.turn <- nil
			}
			return err
		})
	}
	defer func() { // whatever happened, nobody waits for ever
		for _, one := range together[1:] {
			if !one.arrived {
				one.turn <- nil
			}
		}
	}()
	_ = shared.postgres.SendBatch(ctx, &batch).Close() // told by those that do not arrive
}
