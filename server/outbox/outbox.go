package outbox

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

const (
	batchLimit   = 256                   // events published in one round trip, or about as many marked in one statement
	markInterval = 50 * time.Millisecond // in which published events gather to be marked; the relay looks much later
	freshLimit   = 16 * batchLimit       // events that wait in memory; those of a greater burst wait in the database
	overdue      = time.Second           // after which an unpublished event has been left behind by its own pod
	pollInterval = time.Second           // between two looks for those
	storeTimeout = 5 * time.Second       // for the database to answer
)

// Outbox publishes events and reads them back. Every process of a shop has one and runs it.
type Outbox struct {
	db    *database.DB
	redis *pubsub.Client
	log   *slog.Logger
	fresh chan Event
	last  *database.Batch[int64, int64] // the last event of each user
	heard atomic.Bool                   // whether [Outbox.Listen] hears what is published
	stuck bool                          // whether the last attempt to publish failed; only publishAll knows
	sent  []Mark                        // what is published and not marked yet; only publishAll knows

	metrics *metrics
	tracer  trace.Tracer // nil while nothing is traced
}

// New makes the outbox of this process.
func New(db *database.DB, redis *pubsub.Client, log *slog.Logger) *Outbox {
	o := &Outbox{db: db, redis: redis, log: log, fresh: make(chan Event, freshLimit), metrics: newMetrics()}
	o.last = database.NewBatch(o.readLast)
	return o
}

// Publish hands committed events to [Outbox.Run] and returns at once, whatever state Redis is in.
func (o *Outbox) Publish(ctx context.Context, events ...Event) {
	for _, event := range events {
		select {
		case o.fresh <- event:
		default:
			o.log.DebugContext(ctx, "a notification waits for the relay", "user_id", event.UserID, "event_id", event.EventID)
		}
	}
}

// Run publishes, and deletes what is kept no longer, until ctx ends.
func (o *Outbox) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return o.publishAll(ctx) })
	group.Go(func() error { return o.cleanAll(ctx) })
	return group.Wait()
}

// publishAll publishes until ctx ends: fresh events at once, and about every second those that some pod left
// behind, because it died after the commit or had no Redis. An event may be published twice, and events of
// one user that come from two pods at once may overtake one another: a listener goes by the event id.
func (o *Outbox) publishAll(ctx context.Context) error {
	look := time.NewTimer(untilNextLook())
	defer look.Stop()
	marking := time.NewTimer(markInterval)
	defer marking.Stop()
	toTheEnd := context.WithoutCancel(ctx) // a batch that was begun is finished
	for {
		select {
		case <-ctx.Done():
			o.publishRest(toTheEnd)
			return nil
		case event := <-o.fresh:
			if len(o.sent) == 0 {
				marking.Reset(markInterval)
			}
			o.publishFresh(toTheEnd, event)
		case <-marking.C:
			o.markSent(toTheEnd)
		case <-look.C:
			full, err := o.relay(ctx)
			o.note(ctx, err)
			if full {
				look.Reset(0) // more are waiting; fresh ones get their turn in between
			} else {
				look.Reset(untilNextLook())
			}
		}
	}
}

// untilNextLook has jitter, so that pods look in turn rather than all at once.
func untilNextLook() time.Duration {
	return pollInterval*3/4 + rand.N(pollInterval/2) //nolint:gosec // jitter need not be unguessable
}

// publishRest is for events that were committed in the last moment.
func (o *Outbox) publishRest(ctx context.Context) {
	for len(o.fresh) > 0 && !o.stuck {
		o.publishFresh(ctx, <-o.fresh)
	}
	o.markSent(ctx)
}

// publishFresh publishes an event and those that came right behind it. While publishing fails it leaves
// them to the relay, which goes on trying.
func (o *Outbox) publishFresh(ctx context.Context, first Event) {
	events := []Event{first}
	for len(events) < batchLimit && len(o.fresh) > 0 {
		events = append(events, <-o.fresh)
	}
	if o.stuck {
		return
	}
	err := o.send(ctx, events)
	o.note(ctx, err)
	if err != nil {
		return
	}
	o.metrics.own.Add(float64(len(events)))
	if o.sent = append(o.sent, marksOf(events)...); len(o.sent) >= batchLimit {
		o.markSent(ctx)
	}
}

// markSent marks what was published. What it cannot mark the relay publishes again.
func (o *Outbox) markSent(ctx context.Context) {
	if len(o.sent) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := markPublished(o.db.WithContext(ctx), o.sent); err != nil {
		o.note(ctx, err) // success says nothing of Redis
	}
	o.sent = o.sent[:0]
}

// relay publishes a batch of what was left behind, and tells whether the batch was full.
func (o *Outbox) relay(ctx context.Context) (full bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	before := database.Now().Add(-overdue)
	oldest, err := oldestUnpublished(o.db.WithContext(ctx), before)
	if err != nil {
		return false, err
	}
	o.metrics.sees(oldest)
	if o.stuck { // find out before rows are locked
		err = o.redis.Ping(ctx)
	}
	if err != nil || oldest.IsZero() {
		return false, err
	}
	err = o.db.InTx(ctx, func(tx *gorm.DB) error {
		events, err := lockUnpublished(tx, before)
		if err != nil || len(events) == 0 {
			return err
		}
		full = len(events) == batchLimit
		slices.SortFunc(events, byUserAndID)
		if err := o.send(ctx, events); err != nil {
			return err
		}
		o.metrics.relayed.Add(float64(len(events)))
		o.log.InfoContext(ctx, "published notifications that were left behind", "events", len(events))
		return markPublished(tx, marksOf(events))
	})
	return full && err == nil, err
}

func byUserAndID(a, b Event) int {
	return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.EventID, b.EventID))
}

func (o *Outbox) send(ctx context.Context, events []Event) error {
	spans := o.departs(ctx, events)
	messages := make([]pubsub.Message, len(events))
	for i, event := range events {
		messages[i] = pubsub.Message{Channel: channelOf(event.UserID), Payload: encode(event)}
	}
	err := o.redis.Publish(ctx, messages...)
	o.departed(ctx, events, spans, err)
	return err
}

// note logs when publishing starts to fail and when it works again, and nothing in between.
func (o *Outbox) note(ctx context.Context, err error) {
	if err != nil {
		o.metrics.failures.Inc()
	}
	switch {
	case ctx.Err() != nil:
		return // whatever failed, failed because the server stops
	case err != nil && !o.stuck:
		o.log.Warn("notifications wait to be published", "error", err)
	case err == nil && o.stuck:
		o.log.Info("notifications are published again")
	}
	o.stuck = err != nil
}

var _ Publisher = (*Outbox)(nil)
