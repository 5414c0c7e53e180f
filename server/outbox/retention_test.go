package outbox_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

func TestCleanDeletesWhatIsOldAndNothingElse(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		const old, young = 1200, 5 // several batches
		addUsers(t, db, 1, 2)
		boxes := []*outbox.Outbox{outbox.New(db, open(t, pubsub.Embedded), slog.Default()), outbox.New(db, open(t, pubsub.Embedded), slog.Default())}
		recordMany(t, db, 1, old)
		age(t, db)
		recordMany(t, db, 1, young)
		recordMany(t, db, 2, young)

		var cleaning sync.WaitGroup // two pods at once
		var mu sync.Mutex
		deleted := int64(0)
		for _, box := range boxes {
			cleaning.Go(func() {
				n, err := box.Clean(t.Context(), database.Now().Add(-30*24*time.Hour))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				deleted += n
			})
		}
		cleaning.Wait()
		if deleted != old {
			t.Errorf("%d events were deleted, want %d", deleted, old)
		}
		left := after(t, boxes[0], 100, outbox.Mark{UserID: 1}, outbox.Mark{UserID: 2})
		if len(left) != 2*young || left[0].EventID != old+1 {
			t.Errorf("%d events are left from %d on, want %d from %d on", len(left), left[0].EventID, 2*young, old+1)
		}
		if last, err := boxes[0].Last(t.Context(), 1); err != nil || last != old+young {
			t.Errorf("the last event is %d (%v), want %d", last, err, old+young)
		}
	})
}

// A batch that another pod holds is left to it.
func TestCleanDoesNotWaitForAnotherPod(t *testing.T) {
	db := databasetest.Open(t, databasetest.Migrated(t))
	addUsers(t, db, 1)
	box := outbox.New(db, open(t, pubsub.Embedded), slog.Default())
	recordMany(t, db, 1, 3)
	age(t, db)
	err := db.InTx(t.Context(), func(tx *gorm.DB) error {
		if err := tx.Exec("SELECT 1 FROM notification_events WHERE event_id < 3 FOR UPDATE").Error; err != nil {
			return err
		}
		began := time.Now()
		if n, err := box.Clean(t.Context(), database.Now()); err != nil || n != 1 || time.Since(began) > 5*time.Second {
			t.Errorf("deleted %d in %s (%v), want 1 at once", n, time.Since(began), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func recordMany(t *testing.T, db *database.DB, user int64, count int) {
	t.Helper()
	err := db.InTx(t.Context(), func(tx *gorm.DB) error {
		for range count {
			if _, err := outbox.Record(tx, user, frame{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// age makes all events 31 days older.
func age(t *testing.T, db *database.DB) {
	t.Helper()
	err := db.WithContext(t.Context()).
		Exec("UPDATE notification_events SET created_at = ?", database.Now().Add(-31*24*time.Hour)).Error
	if err != nil {
		t.Fatal(err)
	}
}
