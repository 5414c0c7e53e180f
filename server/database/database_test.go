package database_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

func TestMigrateIsCurrentAndRepeatable(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		schema, err := db.Schema(t.Context())
		if err != nil || !schema.Current() || schema.Applied != schema.Needed || schema.Applied < 1 {
			t.Fatalf("schema is %+v, %v; want the needed version applied", schema, err)
		}
		again, err := db.Migrate(t.Context())
		if err != nil || len(again) != 0 {
			t.Errorf("a second migration applied %v, %v; want nothing", again, err)
		}
	})
}

func TestSchemaOfAnEmptyDatabase(t *testing.T) {
	db := databasetest.Open(t, databasetest.Postgres(t))
	schema, err := db.Schema(t.Context())
	if err != nil || schema.Applied != 0 || schema.Current() {
		t.Errorf("schema is %+v, %v; want version 0, not current", schema, err)
	}
}

func TestMigrationsTakeTurns(t *testing.T) {
	url := databasetest.Postgres(t)
	var everybody sync.WaitGroup
	counts := make([]int, 4)
	for i := range counts {
		db := databasetest.Open(t, url)
		everybody.Go(func() {
			applied, err := db.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			counts[i] = len(applied)
		})
	}
	everybody.Wait()
	total := 0
	for _, count := range counts {
		total += count
	}
	schema, err := databasetest.Open(t, url).Schema(t.Context())
	if err != nil || int64(total) != schema.Applied {
		t.Errorf("%v migrations were applied by the processes, want %d in all (%v)", counts, schema.Applied, err)
	}
}

func TestInTxRollsBackAndClassifies(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		insert := func(tx *gorm.DB) error {
			return tx.Exec("INSERT INTO signing_keys (kid, secret, created_at) VALUES ('a', 's', ?)", database.Now()).Error
		}
		refused := errors.New("refused")
		err := db.InTx(t.Context(), func(tx *gorm.DB) error {
			if err := insert(tx); err != nil {
				return err
			}
			return refused
		})
		if !errors.Is(err, refused) {
			t.Fatalf("got %v, want the function's own error", err)
		}
		if err := db.InTx(t.Context(), insert); err != nil {
			t.Fatalf("the first transaction left its row: %v", err)
		}
		if err := db.InTx(t.Context(), insert); !database.IsDuplicate(err) {
			t.Errorf("a second row of the same key: got %v, want a duplicate", err)
		}
		err = db.WithContext(t.Context()).Exec("INSERT INTO carts (user_id) VALUES (99)").Error
		if !database.IsReferenced(err) || database.IsDuplicate(err) || database.IsUnavailable(err) {
			t.Errorf("a row without its parent: got %v, want a foreign key's refusal", err)
		}
	})
}

// Two transactions that take the same two rows in opposite order deadlock on PostgreSQL; both must end well.
func TestInTxSurvivesADeadlock(t *testing.T) {
	db := databasetest.Open(t, databasetest.Migrated(t))
	seed := "INSERT INTO signing_keys (kid, secret, created_at) VALUES ('a', '', now()), ('b', '', now())"
	if err := db.WithContext(t.Context()).Exec(seed).Error; err != nil {
		t.Fatal(err)
	}
	append1 := func(tx *gorm.DB, kid string) error {
		return tx.Exec("UPDATE signing_keys SET secret = secret || 'x' WHERE kid = ?", kid).Error
	}
	var everybody, bothHoldOne sync.WaitGroup
	bothHoldOne.Add(2)
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		everybody.Go(func() {
			first := sync.OnceFunc(func() { bothHoldOne.Done(); bothHoldOne.Wait() })
			err := db.InTx(t.Context(), func(tx *gorm.DB) error {
				if err := append1(tx, order[0]); err != nil {
					return err
				}
				first()
				return append1(tx, order[1])
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	everybody.Wait()
	var secrets string
	if err := db.WithContext(t.Context()).Raw("SELECT string_agg(secret, ',' ORDER BY kid) FROM signing_keys").Scan(&secrets).Error; err != nil {
		t.Fatal(err)
	}
	if secrets != "xx,xx" {
		t.Errorf("the rows hold %q, want each updated twice", secrets)
	}
}

func TestAwaitOutlastsADatabaseThatIsAway(t *testing.T) {
	server := databasetest.StartPostgres(t)
	db := databasetest.Open(t, server.URL())
	server.Stop(t)
	if err := db.Ping(t.Context()); !database.IsUnavailable(err) {
		t.Errorf("ping of a stopped server: got %v, want unavailable", err)
	}
	var logged strings.Builder
	arrived := make(chan error, 1)
	go func() { arrived <- db.Await(t.Context(), slog.New(slog.NewTextHandler(&logged, nil))) }()
	time.Sleep(400 * time.Millisecond) // at least one attempt fails
	server.Start(t)
	if err := <-arrived; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(logged.String(), "waiting for the database") || !strings.Contains(logged.String(), "retry_in") {
		t.Errorf("logged %q, want that it waits and when it tries again", logged.String())
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	server := databasetest.StartPostgres(t)
	db := databasetest.Open(t, server.URL())
	server.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := db.Await(ctx, slog.New(slog.NewTextHandler(io.Discard, nil))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end", err)
	}
}

func TestOpenRefusesWithoutShowingThePassword(t *testing.T) {
	_, err := database.Open(t.Context(), "postgres://shop:hush@localhost:port/shop")
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v, want an error that does not show the password", err)
	}
}
