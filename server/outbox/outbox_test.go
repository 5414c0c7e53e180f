package outbox_test

import (
	"context"
	"errors"
	"fmt"
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

// patience is how long a test waits for what must come.
const patience = 15 * time.Second

func TestMain(m *testing.M) { databasetest.Main(m) }

type frame struct {
	Type    string `json:"type"`
	OrderID int    `json:"order_id"`
	Message string `json:"message"`
}

func TestRecordNumbersEachUsersEventsAndKeepsTheFrame(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		addUsers(t, db, 1, 2)
		box := outbox.New(db, open(t, pubsub.Embedded), slog.Default())
		began := database.Now()
		for i := range 3 {
			record(t, db, 1, frame{Type: "order_notification", OrderID: i, Message: "Tom & Jerry's <3 café"})
		}
		if other := record(t, db, 2, frame{}); other.EventID != 1 {
			t.Errorf("another user's first event has the id %d", other.EventID)
		}

		events := after(t, box, 100, outbox.Mark{UserID: 1, EventID: 1})
		if len(events) != 2 {
			t.Fatalf("%d events after the first, want 2", len(events))
		}
		for i, event := range events {
			want := fmt.Sprintf(`{"type":"order_notification","order_id":%d,"message":"Tom & Jerry's <3 café"}`, i+1)
			if event.UserID != 1 || event.EventID != int64(i+2) || string(event.Frame) != want {
				t.Errorf("event %+v with the frame %s, want event %d of user 1 with %s", event, event.Frame, i+2, want)
			}
			if event.CreatedAt.Before(began) || event.CreatedAt.After(database.Now()) {
				t.Errorf("created at %s, want between %s and now", event.CreatedAt, began)
			}
		}
	})
}

func TestFailedTransactionLeavesNoEventAndNoGap(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		addUsers(t, db, 1)
		box := outbox.New(db, open(t, pubsub.Embedded), slog.Default())
		record(t, db, 1, frame{})
		failure := errors.New("no stock")
		err := db.InTx(t.Context(), func(tx *gorm.DB) error {
			if _, err := outbox.Record(tx, 1, frame{}); err != nil {
				return err
			}
			return failure
		})
		if !errors.Is(err, failure) {
			t.Fatalf("the transaction ended with %v", err)
		}
		if last, err := box.Last(t.Context(), 1); err != nil || last != 1 {
			t.Errorf("the last event is %d (%v), want 1", last, err)
		}
		if next := record(t, db, 1, frame{}); next.EventID != 2 {
			t.Errorf("the next event is %d, want 2", next.EventID)
		}
	})
}

func TestRecordRefusesAFrameThatIsNoJSON(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		addUsers(t, db, 1)
		if _, err := outbox.Record(db.WithContext(t.Context()), 1, func() {}); err == nil {
			t.Error("it recorded a function")
		}
	})
}

// Every event that is visible has all events before it visible too: that is what lets a reader go by ids.
func TestEventIDsFollowTheOrderOfCommits(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		addUsers(t, db, 1)
		box := outbox.New(db, open(t, pubsub.Embedded), slog.Default())
		var writers sync.WaitGroup
		for range 8 {
			writers.Go(func() {
				for i := range 10 {
					if i%3 == 2 {
						_ = db.InTx(context.Background(), func(tx *gorm.DB) error {
							_, err := outbox.Record(tx, 1, frame{})
							return errors.Join(err, errors.New("rolled back"))
						})
						continue
					}
					record(t, db, 1, frame{OrderID: i})
				}
			})
		}
		written := make(chan struct{})
		go func() { writers.Wait(); close(written) }()
		for done := false; !done; {
			select {
			case <-written:
				done = true
			default:
			}
			events := after(t, box, 1000, outbox.Mark{UserID: 1})
			for i, event := range events {
				if event.EventID != int64(i+1) {
					t.Fatalf("event %d in the place of %d", event.EventID, i+1)
				}
			}
			if done && len(events) != 8*7 {
				t.Errorf("%d events, want %d", len(events), 8*7)
			}
		}
	})
}

func TestAfterReadsManyUsersInOrderUpToALimit(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		addUsers(t, db, 1, 2, 3)
		box := outbox.New(db, open(t, pubsub.Embedded), slog.Default())
		for range 4 {
			for user := range int64(3) {
				record(t, db, user+1, frame{})
			}
		}
		marks := []outbox.Mark{{UserID: 3, EventID: 3}, {UserID: 1, EventID: 4}, {UserID: 2, EventID: 1}, {UserID: 99}, {UserID: 4}}
		if got, want := ids(after(t, box, 100, marks...)), "[2/2 2/3 2/4 3/4]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := ids(after(t, box, 2, marks...)), "[2/2 2/3]"; got != want {
			t.Errorf("limited to 2: got %s, want %s", got, want)
		}
	})
}

func TestPublishedEventsReachListenersAndAreMarked(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		addUsers(t, db, 1, 33) // of one partition
		redis := databasetest.Redis(t)
		heard := listen(t, db, redis)
		box := run(t, db, redis)
		var committed []outbox.Event
		for range 3 {
			committed = append(committed, record(t, db, 1, frame{Message: "a b  c"}), record(t, db, 33, frame{}))
		}
		box.Publish(t.Context(), committed...)
		for _, want := range committed {
			got := heard.next(t)
			if got.UserID != want.UserID || got.EventID != want.EventID || string(got.Frame) != string(want.Frame) ||
				!got.CreatedAt.Equal(want.CreatedAt) {
				t.Errorf("heard %+v, want %+v", got, want)
			}
		}
		expectAllPublished(t, db)
	})
}

func TestRelayPublishesWhatAPodLeftBehind(t *testing.T) {
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		addUsers(t, db, 1, 2)
		redis := databasetest.Redis(t)
		const events = 300 // more than a batch
		err := db.InTx(t.Context(), func(tx *gorm.DB) error {
			for i := range events {
				if _, err := outbox.Record(tx, int64(1+i%2), frame{}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		heard := listen(t, db, redis)
		run(t, db, redis)
		if !db.Embedded() {
			run(t, db, redis) // a second pod
		}
		seen := map[string]bool{}
		for len(seen) < events {
			seen[ids([]outbox.Event{heard.next(t)})] = true
		}
		expectAllPublished(t, db)
	})
}

func TestPublishingWaitsForRedisWithoutHoldingAnybodyUp(t *testing.T) {
	db := databasetest.Open(t, databasetest.Migrated(t))
	addUsers(t, db, 1)
	server := databasetest.StartRedis(t)
	box := run(t, db, server.URL())

	outage := func(begin, end func(testing.TB)) {
		begin(t)
		started := time.Now()
		for range 20 {
			box.Publish(t.Context(), record(t, db, 1, frame{}))
		}
		if took := time.Since(started); took > time.Second {
			t.Errorf("20 requests took %s without Redis", took)
		}
		end(t)
		expectAllPublished(t, db)
	}
	outage(server.Stop, server.Start)
	outage(server.Pause, server.Resume)
}

func TestWhatIsCommittedLastIsPublishedBeforeTheEnd(t *testing.T) {
	db := databasetest.Open(t, databasetest.Migrated(t))
	addUsers(t, db, 1)
	box := outbox.New(db, open(t, databasetest.Redis(t)), slog.Default())
	for range 300 {
		box.Publish(t.Context(), record(t, db, 1, frame{}))
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := box.Run(ended); err != nil {
		t.Fatal(err)
	}
	if n := unpublished(t, db); n != 0 {
		t.Errorf("%d events are left to another pod", n)
	}
}

func open(t *testing.T, url string) *pubsub.Client {
	t.Helper()
	client, err := pubsub.Open(url, "shop", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

func addUsers(t *testing.T, db *database.DB, ids ...int64) {
	t.Helper()
	for _, id := range ids {
		name := fmt.Sprintf("user%d", id)
		err := db.WithContext(t.Context()).Exec(`INSERT INTO users
			(id, email, email_key, username, username_key, password_hash, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, '', ?, ?)`, id, name, name, name, name, database.Now(), database.Now()).Error
		if err != nil {
			t.Fatal(err)
		}
	}
}

func record(t *testing.T, db *database.DB, user int64, frame any) (event outbox.Event) {
	t.Helper()
	err := db.InTx(context.Background(), func(tx *gorm.DB) (err error) {
		event, err = outbox.Record(tx, user, frame)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return event
}

func after(t *testing.T, box *outbox.Outbox, limit int, marks ...outbox.Mark) []outbox.Event {
	t.Helper()
	events, err := box.After(t.Context(), limit, marks...)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// ids shows events as [user/event …].
func ids(events []outbox.Event) string {
	shown := make([]string, len(events))
	for i, event := range events {
		shown[i] = fmt.Sprintf("%d/%d", event.UserID, event.EventID)
	}
	return fmt.Sprint(shown)
}

// run runs an outbox, as a pod does, until the test ends.
func run(t *testing.T, db *database.DB, redis string) *outbox.Outbox {
	t.Helper()
	box := outbox.New(db, open(t, redis), slog.New(slog.NewTextHandler(t.Output(), nil)))
	background(t, box.Run)
	return box
}

// background runs something until the test ends.
func background(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
}

type listener struct {
	subscribed sync.WaitGroup
	events     chan outbox.Event
}

// listen returns once it listens.
func listen(t *testing.T, db *database.DB, redis string) *listener {
	t.Helper()
	l := &listener{events: make(chan outbox.Event, 1000)}
	l.subscribed.Add(1)
	var once sync.Once
	box := outbox.New(db, open(t, redis), slog.New(slog.NewTextHandler(t.Output(), nil)))
	background(t, func(ctx context.Context) error {
		return box.Listen(ctx, func() { once.Do(l.subscribed.Done) }, func(event outbox.Event) { l.events <- event })
	})
	l.subscribed.Wait()
	return l
}

func (l *listener) next(t *testing.T) outbox.Event {
	t.Helper()
	select {
	case event := <-l.events:
		return event
	case <-time.After(patience):
		t.Fatal("no event was heard")
		return outbox.Event{}
	}
}

func unpublished(t *testing.T, db *database.DB) (n int) {
	t.Helper()
	err := db.WithContext(t.Context()).Raw("SELECT count(*) FROM notification_events WHERE published_at IS NULL").Scan(&n).Error
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func expectAllPublished(t *testing.T, db *database.DB) {
	t.Helper()
	for deadline := time.Now().Add(patience); unpublished(t, db) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d events are not marked as published", unpublished(t, db))
		}
	}
}
