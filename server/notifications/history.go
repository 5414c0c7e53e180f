package notifications

import (
	"bytes"
	"fmt"

	"github.com/gofiber/fiber/v2"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
)

// History is the REST side of the notifications: what users got, and what of it they have read.
type History struct{ outbox *outbox.Outbox }

// NewHistory makes the history of what an outbox keeps.
func NewHistory(box *outbox.Outbox) *History { return &History{box} }

// entry is a notification as REST shows it.
type entry outbox.Entry

// MarshalJSON puts the frame's own keys between the id and the rest.
func (e entry) MarshalJSON() ([]byte, error) {
	text := fmt.Appendf(nil, `{"id":%d,`, e.EventID)
	if keys := bytes.TrimSuffix(e.Frame[1:], []byte{'}'}); len(keys) > 0 {
		text = append(append(text, keys...), ',')
	}
	return fmt.Appendf(text, `"created_at":"%s","read":%t}`, e.CreatedAt.UTC().Format(httpapi.TimeLayout), e.Read), nil
}

// List answers GET /api/notifications/.
func (h *History) List(c *fiber.Ctx) error {
	query := httpapi.ReadQuery(c)
	unread, _ := query.Boolean("unread")
	if err := query.Err(); err != nil {
		return err
	}
	page, err := httpapi.ReadPage(c)
	if err != nil {
		return err
	}
	kept, count, err := h.outbox.History(c.UserContext(), httpapi.CallerOf(c).UserID, unread, page.Offset(), page.Size)
	if err != nil {
		return err
	}
	if err := page.Check(count); err != nil {
		return err
	}
	entries := make([]entry, len(kept))
	for i, e := range kept {
		entries[i] = entry(e)
	}
	return httpapi.SendPage(c, page, count, entries)
}

// MarkRead answers POST /api/notifications/{id}/read/.
func (h *History) MarkRead(c *fiber.Ctx) error {
	id, err := httpapi.PathID(c, "id")
	if err != nil {
		return err
	}
	read, found, err := h.outbox.MarkRead(c.UserContext(), httpapi.CallerOf(c).UserID, id)
	if err != nil {
		return err
	}
	if !found {
		return httpapi.NotFound()
	}
	return c.JSON(entry(read))
}

// MarkAllRead answers POST /api/notifications/read-all/.
func (h *History) MarkAllRead(c *fiber.Ctx) error {
	count, err := h.outbox.MarkAllRead(c.UserContext(), httpapi.CallerOf(c).UserID)
	if err != nil {
		return err
	}
	return c.JSON(struct {
		Count int64 `json:"count"`
	}{count})
}
