package notifications

import (
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/gofiber/fiber/v2"
	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

// The frames of the published API document, byte for byte.
func TestFramesAreSentAsRecorded(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	p.addUsers(t, 7)
	c := p.connect(t, 7)
	p.notify(t, 7, struct {
		Type    string `json:"type"`
		OrderID int64  `json:"order_id"`
		Message string `json:"message"`
	}{"order_notification", 1, "Order created successfully"})
	p.notify(t, 7, struct {
		Type      string `json:"type"`
		OrderID   int64  `json:"order_id"`
		OldStatus string `json:"old_status"`
		NewStatus string `json:"new_status"`
		Message   string `json:"message"`
	}{"order_status_update", 1, "pending", "shipped", "Order #1 status updated from pending to shipped"})
	c.expect(t, `{"type":"order_notification","order_id":1,"message":"Order created successfully"}`,
		`{"type":"order_status_update","order_id":1,"old_status":"pending","new_status":"shipped",`+
			`"message":"Order #1 status updated from pending to shipped"}`)
}

// Two pods hold the sockets, two others publish for the same users at once.
func TestEverySocketOnEveryPodGetsItsUsersFramesInOrder(t *testing.T) {
	t.Parallel()
	const users, frames = 5, 40
	databaseURL, redisURL := databasetest.Migrated(t), databasetest.Redis(t)
	pods := []*pod{startPod(t, databasetest.Open(t, databaseURL), redisURL), startPod(t, databasetest.Open(t, databaseURL), redisURL)}
	publishers := []*pod{startPod(t, databasetest.Open(t, databaseURL), redisURL), startPod(t, databasetest.Open(t, databaseURL), redisURL)}
	pods[0].addUsers(t, 1, 2, 3, 4, 5, 6)
	sockets := map[int64][]*client{}
	for _, p := range pods {
		for user := range int64(users) {
			sockets[user+1] = append(sockets[user+1], p.connect(t, user+1), p.connect(t, user+1))
		}
	}
	bystander := pods[0].connect(t, 6)
	staff := pods[1].connectAs(t, 1, "staff-6")

	var publishing sync.WaitGroup
	for user := range int64(users) {
		var turn sync.Mutex // for the number alone: the publishers race to Redis
		n := 0
		for _, publisher := range publishers {
			publishing.Go(func() {
				for range frames / len(publishers) {
					turn.Lock()
					n++
					event := publisher.commit(t, user+1, numbered{User: user + 1, N: n})
					turn.Unlock()
					publisher.outbox.Publish(t.Context(), event)
				}
			})
		}
	}
	publishing.Wait()

	for user, clients := range sockets {
		for _, c := range clients {
			c.expect(t, upTo(user, frames)...)
			c.expectNothing(t)
		}
	}
	staff.expect(t, upTo(1, frames)...)
	bystander.expectNothing(t)
}

func TestSocketGetsNothingFromBeforeItsTime(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	p.addUsers(t, 7)
	p.notify(t, 7, numbered{User: 7, N: 1})
	c := p.connect(t, 7)
	c.expectNothing(t)
	p.notify(t, 7, numbered{User: 7, N: 2})
	c.expect(t, numbered{User: 7, N: 2}.String())
}

// What was committed during the handshake, published before the socket was there to hear it.
func TestSocketGetsWhatWasPublishedDuringItsHandshake(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	p.addUsers(t, 7)
	upgrade := p.hub.upgrade
	p.hub.upgrade = func(c *fiber.Ctx) error { // after the token and all else
		p.commitUnheard(t, 7, numbered{User: 7, N: 1})
		return upgrade(c)
	}
	p.connect(t, 7).expect(t, numbered{User: 7, N: 1}.String())
}

func TestRedisOutagesLoseNothing(t *testing.T) {
	t.Parallel()
	databaseURL, redis := databasetest.Migrated(t), databasetest.StartRedis(t)
	pods := []*pod{startPod(t, databasetest.Open(t, databaseURL), redis.URL()), startPod(t, databasetest.Open(t, databaseURL), redis.URL())}
	publisher := startPod(t, databasetest.Open(t, databaseURL), redis.URL())
	publisher.addUsers(t, 1, 2)
	var sockets []*client
	for _, p := range pods {
		sockets = append(sockets, p.connect(t, 1), p.connect(t, 1))
	}
	n := 0
	notify := func(count int) {
		for range count {
			n++
			publisher.notify(t, 1, numbered{User: 1, N: n})
		}
	}
	delivered := 0
	expectAll := func() {
		t.Helper()
		for _, c := range sockets {
			c.expect(t, upTo(1, n)[delivered:]...)
			c.expectNothing(t)
		}
		delivered = n
	}
	notify(3)
	expectAll()

	redis.Stop(t)
	n++
	publisher.commitUnheard(t, 1, numbered{User: 1, N: n})
	redis.Start(t)
	expectAll()

	redis.Stop(t)
	notify(10)
	redis.Start(t)
	notify(3)
	expectAll()

	redis.Pause(t)
	notify(10)
	expectListening(t, pods, false) // longer than subscribers and publishers put up with
	notify(10)
	redis.Resume(t)
	notify(3)
	expectAll()
}

// While Redis is away the pods read the database instead, and listen again when it is back.
func TestSocketsAreServedWithoutRedis(t *testing.T) {
	t.Parallel()
	databaseURL, redis := databasetest.Migrated(t), databasetest.StartRedis(t)
	pods := []*pod{startPod(t, databasetest.Open(t, databaseURL), redis.URL()), startPod(t, databasetest.Open(t, databaseURL), redis.URL())}
	pods[0].addUsers(t, 1, 2)
	sockets := []*client{pods[0].connect(t, 1), pods[1].connect(t, 1), pods[1].resume(t, 2, 0)}
	expectListening(t, pods, true)

	redis.Stop(t)
	expectListening(t, pods, false)
	for n := range 3 {
		pods[0].notify(t, 1, numbered{User: 1, N: n + 1})
		for _, c := range sockets[:2] {
			c.expect(t, numbered{User: 1, N: n + 1}.String())
		}
	}
	resumed := resumer{client: sockets[2]}
	pods[1].notify(t, 2, numbered{User: 2, N: 1})
	resumed.expect(t, 1)

	redis.Start(t)
	expectListening(t, pods, true)
	pods[1].notify(t, 1, numbered{User: 1, N: 4})
	for _, c := range sockets[:2] {
		c.expect(t, numbered{User: 1, N: 4}.String())
		c.expectNothing(t)
	}
	resumed.expectNothing(t)
}

func expectListening(t *testing.T, pods []*pod, want bool) {
	t.Helper()
	for _, p := range pods {
		for deadline := time.Now().Add(patience); p.outbox.Listening() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("listening is %v, want %v", !want, want)
			}
		}
	}
}

// The pod that took the order dies between commit and publication: it is never published by that pod.
func TestAnotherPodPublishesWhatADeadOneCommitted(t *testing.T) {
	t.Parallel()
	databaseURL, redisURL := databasetest.Migrated(t), databasetest.Redis(t)
	p := startPod(t, databasetest.Open(t, databaseURL), redisURL)
	p.addUsers(t, 7)
	c := p.connect(t, 7)
	dead := &pod{db: databasetest.Open(t, databaseURL)}
	for n := range 3 {
		dead.commit(t, 7, numbered{User: 7, N: n + 1})
	}
	c.expect(t, upTo(7, 3)...)
}

func TestDatabaseOutageIsSatThrough(t *testing.T) {
	t.Parallel()
	postgres, redis := databasetest.StartPostgres(t), databasetest.StartRedis(t)
	db := databasetest.Open(t, postgres.URL())
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := startPod(t, db, redis.URL())
	p.addUsers(t, 7)
	c := p.connect(t, 7)
	p.notify(t, 7, numbered{User: 7, N: 1})
	c.expect(t, numbered{User: 7, N: 1}.String())

	redis.Stop(t)
	for n := range 3 {
		p.commitUnheard(t, 7, numbered{User: 7, N: n + 2})
	}
	postgres.Stop(t)
	redis.Start(t)
	expectListening(t, []*pod{p}, true) // which sends the hub to a database that is away
	c.expectOpen(t)
	postgres.Start(t)
	c.expect(t, upTo(7, 4)[1:]...)
	c.expectNothing(t)
}

// However the published events arrive, late, twice, in any order or not at all, a socket gets each event
// once and in order, and so do those that come back time and again and say how far they are.
func TestEachEventIsDeliveredOnceInOrder(t *testing.T) {
	t.Parallel()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		p := startPod(t, db, pubsub.Embedded)
		user := int64(0)
		rapid.Check(t, func(r *rapid.T) {
			user++
			p.addUsers(t, user)
			c := p.connect(t, user)
			expectOpen(t, p, 1)
			var committed []outbox.Event
			var returning resumer
			returning.connect(t, p, user)
			r.Repeat(map[string]func(*rapid.T){
				"commit": func(*rapid.T) {
					committed = append(committed, p.commitUnheard(t, user, numbered{User: user, N: len(committed) + 1}))
				},
				"arrive": func(r *rapid.T) {
					if len(committed) > 0 {
						p.hub.deliver(rapid.SampledFrom(committed).Draw(r, "event"))
					}
				},
				"resubscribe": func(*rapid.T) { p.hub.mistrustAll() },
				"return": func(r *rapid.T) {
					p.hub.mistrustAll() // what nobody heard comes from the database
					returning.leave(t, len(committed)-rapid.IntRange(0, len(committed)).Draw(r, "unread"))
					returning.connect(t, p, user)
				},
			})
			p.hub.mistrustAll()
			returning.leave(t, len(committed))
			expectOpen(t, p, 1)
			c.expect(t, upTo(user, len(committed))...)
			for _, s := range p.hub.sockets.of(user) {
				s.close(websocket.CloseNormalClosure, "")
			}
			c.expectClose(t, websocket.CloseNormalClosure, "")
			if extra := len(c.frames); extra > 0 {
				r.Errorf("%d frames more than events", extra)
			}
			expectOpen(t, p, 0)
		})
	})
}
