package database_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

// trips counts the round trips of several queries, by how many they are.
type trips struct {
	mutex sync.Mutex
	of    map[int]int
}

func (c *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.of[data.Batch.Len()]++
	return ctx
}

func (*trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (*trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData)     {}
func (*trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (*trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// oneLane is a database with a single lane, in which a query is until it is opened.
type oneLane struct {
	db    *database.DB
	trips trips
	open  func()

	asked   int
	answers sync.WaitGroup
}

func newOneLane(t *testing.T) *oneLane {
	l := &oneLane{trips: trips{of: map[int]int{}}}
	var err error
	if l.db, err = database.Open(t.Context(), databasetest.Postgres(t)+"&pool_max_conns=3", &l.trips); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.db.Close(); err != nil {
			t.Error(err)
		}
	})
	holder := l.db.WithContext(t.Context()).Begin()
	if err := holder.Exec("SELECT pg_advisory_xact_lock(1)").Error; err != nil {
		t.Fatal(err)
	}
	l.open = func() {
		holder.Rollback()
		l.answers.Wait()
	}
	l.answers.Go(func() { l.ask(t.Context(), t, "(SELECT 0 FROM (SELECT pg_advisory_xact_lock(1)) held)", "[0]") })
	eventually(t, func() (held bool) {
		err := l.db.WithContext(t.Context()).Raw("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)").Scan(&held).Error
		return err == nil && held
	})
	return l
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("waited in vain")
		}
	}
}

// ask wants what an expression comes to, or an error that contains a text.
func (l *oneLane) ask(ctx context.Context, t *testing.T, expression, want string) {
	query := l.db.WithContext(ctx).Raw("SELECT CAST(" + expression + " AS bigint)")
	found, err := database.SelectTogether(l.db, query, func(n *int64) []any { return []any{n} })
	if got := fmt.Sprint(found); err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %s, %v; want %s", expression, got, err, want)
	}
}

// lineUp asks when all that were asked before wait.
func (l *oneLane) lineUp(ctx context.Context, t *testing.T, expression, want string) {
	t.Helper()
	l.asked++
	l.answers.Go(func() { l.ask(ctx, t, expression, want) })
	eventually(t, func() bool { return l.db.Waiting() == l.asked })
}

func TestQueriesThatWaitTravelTogether(t *testing.T) {
	t.Parallel()
	l := newOneLane(t)
	for n := range 9 {
		l.lineUp(t.Context(), t, fmt.Sprint(n), fmt.Sprintf("[%d]", n))
	}
	l.open()
	if want := map[int]int{4: 2}; !maps.Equal(l.trips.of, want) {
		t.Errorf("round trips of so many queries: %v, want %v", l.trips.of, want)
	}
	l.ask(t.Context(), t, "10", "[10]") // the lane is free again
}

func TestQueryThatFailsHarmsNoOther(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct{ expression, want string }{
		"is wrong":             {"1 / 0", "division by zero"},
		"takes the connection": {"CAST(pg_terminate_backend(pg_backend_pid()) AS int)", "terminating connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for place := range 4 {
				l := newOneLane(t)
				for n := range 4 {
					if n == place {
						l.lineUp(t.Context(), t, bad.expression, bad.want)
					} else {
						l.lineUp(t.Context(), t, fmt.Sprint(n), fmt.Sprintf("[%d]", n))
					}
				}
				l.open()
			}
		})
	}
}

func TestQueryOfARequestThatIsOverWaitsNoLonger(t *testing.T) {
	t.Parallel()
	l := newOneLane(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	l.lineUp(ctx, t, "1", context.Canceled.Error())
	l.lineUp(t.Context(), t, "2", "[2]")
	l.lineUp(ctx, t, "3", context.Canceled.Error())
	cancel(errors.New("over"))
	eventually(t, func() bool { return l.db.Waiting() == 1 })
	l.open()
}
