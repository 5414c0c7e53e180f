// Package outbox keeps the notifications of users from the transaction that caused them until every pod has
// heard of them: recorded with the change itself, published through Redis after its commit, published again
// by whichever pod finds one left behind, read back by event id by whoever missed one. It knows no feature:
// a frame is what the feature says it is.
package outbox

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// Event is one notification of one user.
type Event struct {
	UserID    int64
	EventID   int64  // 1, 2, 3 … for each user, in the order of commit, without a gap
	Frame     []byte // the JSON object that a client receives, byte for byte
	CreatedAt time.Time
	Origin    string // the request that caused it, see [OriginOf]; not part of what its user is told
}

// NumberedFrame is the frame for clients that resume: its own keys, then event_id and created_at.
func (e Event) NumberedFrame() []byte {
	open := bytes.TrimSuffix(e.Frame, []byte{'}'})
	numbered := append(make([]byte, 0, len(e.Frame)+72), open...)
	if len(open) > 1 {
		numbered = append(numbered, ',')
	}
	numbered = strconv.AppendInt(append(numbered, `"event_id":`...), e.EventID, 10)
	return fmt.Appendf(numbered, `,"created_at":"%s"}`, e.CreatedAt.UTC().Format(httpapi.TimeLayout))
}

// Publisher tells every pod of committed events. It never fails the request that caused them: what it
// cannot publish is published later.
type Publisher interface {
	Publish(ctx context.Context, events ...Event)
}

// Record writes a notification in the caller's transaction, so that it exists exactly if the change does.
// The user's counter stays locked until that transaction ends: that gives events the order of their
// commits, and a transaction that fails leaves no gap. So record last, and publish after the commit.
func Record(tx *gorm.DB, userID int64, frame any) (Event, error) {
	encoded, err := httpapi.EncodeJSON(frame)
	if err != nil {
		return Event{}, fmt.Errorf("encode a notification of user %d: %w", userID, err)
	}
	if encoded[0] != '{' {
		return Event{}, fmt.Errorf("encode a notification of user %d: %s is not an object", userID, encoded)
	}
	event := Event{UserID: userID, Frame: encoded, CreatedAt: database.Now(), Origin: OriginOf(tx.Statement.Context)}
	if event.EventID, err = insertEvent(tx, event); err != nil {
		return Event{}, fmt.Errorf("record a notification of user %d: %w", userID, err)
	}
	return event, nil
}

// insertEvent gives an event its number and stores it.
func insertEvent(tx *gorm.DB, event Event) (number int64, err error) {
	const next = `INSERT INTO notification_counters (user_id, last_event_id) VALUES (?, 1)
		ON CONFLICT (user_id) DO UPDATE SET last_event_id = notification_counters.last_event_id + 1
		RETURNING last_event_id`
	const store = "INSERT INTO notification_events (user_id, event_id, frame, created_at, origin) "
	if tx.Name() != "sqlite" { // where a statement writes to one table
		err = tx.Raw("WITH next AS ("+next+") "+store+"SELECT CAST(? AS bigint), last_event_id, ?, ?, ? FROM next RETURNING event_id",
			event.UserID, event.UserID, string(event.Frame), event.CreatedAt, event.Origin).Scan(&number).Error
		return number, err
	}
	if err := tx.Raw(next, event.UserID).Scan(&number).Error; err != nil {
		return 0, err
	}
	return number, tx.Exec(store+"VALUES (?, ?, ?, ?, ?)", event.UserID, number, string(event.Frame), event.CreatedAt, event.Origin).Error
}
