package notifications

import (
	"context"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
)

const (
	catchUpUsers   = 512  // in one query
	catchUpEvents  = 2048 // from one query
	catchUpTimeout = 5 * time.Second
)

// catchUpAll gives lagging sockets what they miss, as soon as there are any, many users at a time.
func (h *Hub) catchUpAll(ctx context.Context) error {
	const first, longest = 250 * time.Millisecond, 5 * time.Second
	pause := first
	for {
		users := h.lagging.wait(ctx, catchUpUsers)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how this ends
		}
		err := h.catchUp(ctx, users)
		if err == nil {
			pause = first
			continue
		}
		h.log.Warn("sockets wait for missed notifications", "error", err, "retry_in", pause.String())
		h.retry(users)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longest)
	}
}

// retry puts users back whose events could not be read.
func (h *Hub) retry(users []int64) {
	for _, user := range users {
		for _, s := range h.sockets.of(user) {
			s.mistrust()
		}
	}
	h.lagging.add(users...)
}

// catchUp reads what the sockets of some users miss and gives it to them.
func (h *Hub) catchUp(ctx context.Context, users []int64) error {
	var marks []outbox.Mark
	for _, user := range users {
		if from, lags := h.lowestCursor(user); lags {
			marks = append(marks, outbox.Mark{UserID: user, EventID: from})
		}
	}
	if len(marks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	events, err := h.outbox.After(ctx, catchUpEvents, marks...)
	if err != nil {
		return err
	}
	h.replay(marks, events)
	h.checkLag(marks, events)
	return nil
}

// replay gives sockets the events that follow the marks. What is missing between a mark and an event, or
// between two events, was kept long enough and exists no longer.
func (h *Hub) replay(marks []outbox.Mark, events []outbox.Event) {
	reached := make(map[int64]int64, len(marks))
	for _, mark := range marks {
		reached[mark.UserID] = mark.EventID
	}
	for _, event := range events {
		l := letter{Event: event, after: reached[event.UserID]}
		for _, s := range h.sockets.of(event.UserID) {
			s.replay(&l)
		}
		reached[event.UserID] = event.EventID
	}
}

// lowestCursor is where the sockets of a user that lag must be read on from. They count as caught up from
// now on, unless they learn otherwise in the meantime.
func (h *Hub) lowestCursor(user int64) (lowest int64, lags bool) {
	for _, s := range h.sockets.of(user) {
		if cursor, stale := s.trust(); stale && (!lags || cursor < lowest) {
			lowest, lags = cursor, true
		}
	}
	return lowest, lags
}

// checkLag sees who goes on lagging: those whom the limit of the query left out, and those who learned
// during the query that there is more.
func (h *Hub) checkLag(marks []outbox.Mark, events []outbox.Event) {
	full := len(events) == catchUpEvents
	for _, mark := range marks {
		leftOut := full && mark.UserID >= events[len(events)-1].UserID
		for _, s := range h.sockets.of(mark.UserID) {
			if leftOut {
				s.mistrust()
			}
			if s.needsDatabase() {
				h.lagging.add(mark.UserID)
			}
		}
	}
}
