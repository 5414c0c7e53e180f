package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

const (
	kept         = 30 * 24 * time.Hour
	cleanEvery   = time.Hour // on average; of all pods together some minutes
	cleanBatch   = 500       // events in one statement: a few milliseconds, and few locks
	cleanPause   = 50 * time.Millisecond
	cleanTimeout = 10 * time.Second // for a batch
)

// cleanAll deletes what is kept no longer, now and then until ctx ends.
func (o *Outbox) cleanAll(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(cleanEvery/2 + rand.N(cleanEvery)): //nolint:gosec // jitter need not be unguessable
		}
		if _, err := o.Clean(ctx, database.Now().Add(-kept)); err != nil && ctx.Err() == nil {
			o.log.Warn("old notifications stay for now", "error", err)
		}
	}
}

// Clean deletes the events from before a time, the oldest first, in small batches with a pause after each,
// and returns how many it deleted. It leaves those that another pod is at, so that no pod waits for another.
func (o *Outbox) Clean(ctx context.Context, before time.Time) (deleted int64, err error) {
	for {
		batch, err := o.cleanBatch(ctx, before)
		deleted += batch
		if err != nil || batch < cleanBatch {
			return deleted, err
		}
		select {
		case <-ctx.Done():
			return deleted, ctx.Err()
		case <-time.After(cleanPause):
		}
	}
}

func (o *Outbox) cleanBatch(ctx context.Context, before time.Time) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	db := o.db.WithContext(ctx)
	old := db.Exec(`DELETE FROM notification_events WHERE (user_id, event_id) IN (
		SELECT user_id, event_id FROM notification_events WHERE created_at < ?
		ORDER BY created_at, user_id, event_id LIMIT ?`+skipLocked(db)+`)`, before, cleanBatch)
	if old.Error != nil {
		return 0, fmt.Errorf("delete old notifications: %w", old.Error)
	}
	return old.RowsAffected, nil
}
