package outbox

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// Entry is an event in its user's history.
type Entry struct {
	Event

	Read bool
}

// History reads a part of what is kept of a user's events, newest first, and how many there are in all.
func (o *Outbox) History(ctx context.Context, userID int64, unreadOnly bool, offset, limit int) (entries []Entry, count int64, err error) {
	condition := "user_id = ?"
	if unreadOnly {
		condition += " AND read_at IS NULL"
	}
	db := o.db.WithContext(ctx)
	err = db.Raw("SELECT count(*) FROM notification_events WHERE "+condition, userID).Scan(&count).Error
	if err == nil {
		entries, err = selectEntries(db.Raw(`SELECT user_id, event_id, frame, created_at, read_at IS NOT NULL
			FROM notification_events WHERE `+condition+` ORDER BY event_id DESC LIMIT ? OFFSET ?`, userID, limit, offset))
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the notifications of user %d: %w", userID, err)
	}
	return entries, count, nil
}

// MarkRead notes that a user has read an event, and returns it; found is false if there is none.
func (o *Outbox) MarkRead(ctx context.Context, userID, eventID int64) (entry Entry, found bool, err error) {
	entries, err := selectEntries(o.db.WithContext(ctx).Raw(`
		UPDATE notification_events SET read_at = COALESCE(read_at, ?) WHERE user_id = ? AND event_id = ?
		RETURNING user_id, event_id, frame, created_at, read_at IS NOT NULL`, database.Now(), userID, eventID))
	if err != nil {
		return Entry{}, false, fmt.Errorf("mark notification %d of user %d as read: %w", eventID, userID, err)
	}
	if len(entries) == 0 {
		return Entry{}, false, nil
	}
	return entries[0], true, nil
}

// MarkAllRead notes that a user has read everything, and returns how much of it was new.
func (o *Outbox) MarkAllRead(ctx context.Context, userID int64) (int64, error) {
	marked := o.db.WithContext(ctx).
		Exec("UPDATE notification_events SET read_at = ? WHERE user_id = ? AND read_at IS NULL", database.Now(), userID)
	if marked.Error != nil {
		return 0, fmt.Errorf("mark the notifications of user %d as read: %w", userID, marked.Error)
	}
	return marked.RowsAffected, nil
}

func selectEntries(query *gorm.DB) ([]Entry, error) {
	return database.Select(query, func(entry *Entry) []any {
		return []any{&entry.UserID, &entry.EventID, &entry.Frame, &entry.CreatedAt, &entry.Read}
	})
}
