package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// Mark is how far somebody has come in a user's events.
type Mark struct {
	UserID  int64
	EventID int64 // the last one seen; 0 for none
}

// Last reads the id of a user's newest committed event; 0 before the first.
func (o *Outbox) Last(ctx context.Context, userID int64) (int64, error) {
	var last int64
	err := o.db.WithContext(ctx).
		Raw("SELECT last_event_id FROM notification_counters WHERE user_id = ?", userID).Scan(&last).Error
	if err != nil {
		return 0, fmt.Errorf("read the last event of user %d: %w", userID, err)
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
		SELECT e.user_id, e.event_id, e.frame, e.created_at
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
		SELECT user_id, event_id, frame, created_at FROM notification_events
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

func markPublished(db *gorm.DB, events []Event) error {
	marks := make([]Mark, len(events))
	for i, event := range events {
		marks[i] = Mark{UserID: event.UserID, EventID: event.EventID}
	}
	values, arguments := pairs(marks)
	err := db.Exec("UPDATE notification_events SET published_at = ? WHERE (user_id, event_id) IN (VALUES "+values+")",
		append([]any{database.Now()}, arguments...)...).Error
	if err != nil {
		return fmt.Errorf("mark %d events as published: %w", len(events), err)
	}
	return nil
}

// pairs makes the rows of VALUES. It fills up to a power of two with rows that match nothing, so that the
// number of different statements, which the driver prepares and keeps, stays small.
func pairs(marks []Mark) (values string, arguments []any) {
	rows := 1
	for rows < len(marks) {
		rows *= 2
	}
	arguments = make([]any, 0, 2*rows+1)
	for i := range rows {
		var mark Mark
		if i < len(marks) {
			mark = marks[i]
		}
		arguments = append(arguments, mark.UserID, mark.EventID)
	}
	const row = "(CAST(? AS bigint), CAST(? AS bigint))"
	return row + strings.Repeat(", "+row, rows-1), arguments
}

func selectEvents(query *gorm.DB) ([]Event, error) {
	return database.Select(query, func(event *Event) []any {
		return []any{&event.UserID, &event.EventID, &event.Frame, &event.CreatedAt}
	})
}
