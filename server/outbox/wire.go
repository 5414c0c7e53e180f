package outbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

// partitions is the number of channels that users are spread over. It is part of what pods of different
// releases agree on.
const partitions = 32

func channelOf(userID int64) string { return channel(userID % partitions) }

func channel(partition int64) string { return "notifications:" + strconv.FormatInt(partition, 10) }

// Listen calls received for every event of every user that is published from now until ctx ends, also for
// one that came before, and subscribed each time that events may have been missed until then.
func (o *Outbox) Listen(ctx context.Context, subscribed func(), received func(Event)) error {
	channels := make([]string, partitions)
	for i := range channels {
		channels[i] = channel(int64(i))
	}
	return o.redis.Listen(ctx, channels, pubsub.Listener{
		Subscribed: func() { o.heard.Store(true); subscribed() },
		Lost:       func() { o.heard.Store(false) },
		Received: func(payload string) {
			event, err := decode(payload)
			if err != nil {
				o.log.Error("a notification in Redis cannot be read", "error", err)
				return
			}
			received(event)
		},
	})
}

// Listening reports whether [Outbox.Listen] hears what is published. While it does not, whoever must not
// wait for Redis reads from the database.
func (o *Outbox) Listening() bool { return o.heard.Load() }

// encode writes an event for its way through Redis: user, event id, microseconds of the time, origin if there
// is one, frame, with a space between them. A frame begins with {, and an origin does not.
func encode(event Event) []byte {
	payload := make([]byte, 0, len(event.Frame)+48)
	payload = append(strconv.AppendInt(payload, event.UserID, 10), ' ')
	payload = append(strconv.AppendInt(payload, event.EventID, 10), ' ')
	payload = append(strconv.AppendInt(payload, event.CreatedAt.UnixMicro(), 10), ' ')
	if event.Origin != "" {
		payload = append(append(payload, event.Origin...), ' ')
	}
	return append(payload, event.Frame...)
}

var errNoFrame = errors.New("an event has no frame")

func decode(payload string) (Event, error) {
	var numbers [3]int64
	rest := payload
	for i := range numbers {
		var digits string
		var err error
		digits, rest, _ = strings.Cut(rest, " ")
		if numbers[i], err = strconv.ParseInt(digits, 10, 64); err != nil {
			return Event{}, fmt.Errorf("read the numbers of an event: %w", err)
		}
	}
	event := Event{UserID: numbers[0], EventID: numbers[1], CreatedAt: time.UnixMicro(numbers[2]).UTC()}
	if !strings.HasPrefix(rest, "{") {
		event.Origin, rest, _ = strings.Cut(rest, " ")
	}
	if !strings.HasPrefix(rest, "{") {
		return Event{}, errNoFrame
	}
	event.Frame = []byte(rest)
	return event, nil
}
