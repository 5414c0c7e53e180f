package outbox

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// Mark is how far somebody has come in a user's events.
type Mark struct {
	UserID  int64
	EventID int64 // the last one seen; 0 for none
}

// Last reads the id of a user's newest committed event; 0 before the first. Many that are asked for at once
// are read in one query.
func (o *Outbox) Last(ctx context.Context, userID int64) (int64, error) {
	return o.last.Ask(ctx, userID)
}

func (o *Outbox) readLast(ctx context.Context, userIDs []int64) (map[int64]int64, error) {
	arguments := make([]any, len(userIDs))
	for i, id := range userIDs {
		arguments[i] = id
	}
	values, arguments := database.Values("(CAST(? AS bigint))", arguments)
	counters, err := database.Select(o.db.WithContext(ctx).Raw(`
		SELECT user_id, last_event_id FROM notification_counters WHERE user_id IN (VALUES `+values+`)`, arguments...),
		func(counter *Mark) []any { return []any{&counter.UserID, &counter.EventID} })
	if err != nil {
		return nil, fmt.Errorf("read the last events of %d users: %w", len(userIDs), err)
	}
	last := make(map[int64]int64, len(counters))
	for _, counter := range counters {
		last[counter.UserID] = counter.EventID
	}
	return last, nil
}

// After reads what follows the marks, for many users in one query: at most limit events, ordered by user
// and event id. It asks the counters first who has missed anything, which is few as a rule; left to itself
// PostgreSQL reads every event there is.
func (o *Outbox) After(ctx context.Context, limit int, marks ...Mark) ([]Event, error) {
	values, arguments := pairs(marks)
	events, err := selectEvents(o.db.WithContext(ctx).Raw(`
		WITH marks (user_id, event_id) AS (VALUES `+values+`),
		behind AS MATERIALIZED (
			SELECT marks.user_id, marks.event_id FROM marks
			JOIN notification_counters c ON c.user_id = marks.user_id AND c.last_event_id > marks.event_id)
		SELECT e.user_id, e.event_id, e.frame, e.created_at, e.origin
		FROM behind JOIN notification_events e ON e.user_id = behind.user_id AND e.event_id > behind.event_id
		ORDER BY e.user_id, e.event_id LIMIT ?`, append(arguments, limit)...))
	if err != nil {
		return nil, fmt.Errorf("read the events that %d users missed: %w", len(marks), err)
	}
	return events, nil
}

// oldestUnpublished asks first, without a transaction, since the answer is nearly always that there is none:
// the zero time.
func oldestUnpublished(db *gorm.DB, before time.Time) (time.Time, error) {
	oldest, _, err := database.SelectOne(db.Raw(`SELECT created_at FROM notification_events
		WHERE published_at IS NULL AND created_at < ? ORDER BY created_at LIMIT 1`, before),
		func(at *time.Time) []any { return []any{at} })
	if err != nil {
		return time.Time{}, fmt.Errorf("look for unpublished events: %w", err)
	}
	return oldest, nil
}

// lockUnpublished reads the oldest events that nobody published and no other relay is at.
func lockUnpublished(tx *gorm.DB, before time.Time) ([]Event, error) {
	events, err := selectEvents(tx.Raw(`
		SELECT user_id, event_id, frame, created_at, origin FROM notification_events
		WHERE published_at IS NULL AND created_at < ?
		ORDER BY created_at, user_id, event_id LIMIT ?`+skipLocked(tx), before, batchLimit))
	if err != nil {
		return nil, fmt.Errorf("read unpublished events: %w", err)
	}
	return events, nil
}

// skipLocked is for PostgreSQL alone: SQLite has one writer at a time.
func skipLocked(tx *gorm.DB) string {
	if tx.Name() == "sqlite" {
		return ""
	}
	return " FOR UPDATE SKIP LOCKED"
}

func marksOf(events []Event) []Mark {
	marks := make([]Mark, len(events))
	for i, event := range events {
		marks[i] = Mark{UserID: event.UserID, EventID: event.EventID}
	}
	return marks
}

func markPublished(db *gorm.DB, marks []Mark) error {
	values, arguments := pairs(marks)
	err := db.Exec("UPDATE notification_events SET published_at = ? WHERE (user_id, event_id) IN (VALUES "+values+")",
		append([]any{database.Now()}, arguments...)...).Error
	if err != nil {
		return fmt.Errorf("mark %d events as published: %w", len(marks), err)
	}
	return nil
}

// pairs makes the rows of VALUES.
func pairs(marks []Mark) (values string, arguments []any) {
	for _, mark := range marks {
		arguments = append(arguments, mark.UserID, mark.EventID)
	}
	return database.Values("(CAST(? AS bigint), CAST(? AS bigint))", arguments)
}

func selectEvents(query *gorm.DB) ([]Event, error) {
	return database.Select(query, func(event *Event) []any {
		return []any{&event.UserID, &event.EventID, &event.Frame, &event.CreatedAt, &event.Origin}
	})
}
