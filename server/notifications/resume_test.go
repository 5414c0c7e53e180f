package notifications

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/database/databasetest"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

// resumer is a client that comes back and goes on after the last event it has seen.
type resumer struct {
	*client

	seen int64
}

func (r *resumer) connect(t *testing.T, p *pod, user int64) {
	t.Helper()
	r.client = p.resume(t, user, r.seen)
}

// expect reads the events up to an id, each of which must follow the one before.
func (r *resumer) expect(t *testing.T, upTo int64) {
	t.Helper()
	for r.seen < upTo {
		select {
		case text := <-r.frames:
			var frame struct {
				N         int64     `json:"n"`
				EventID   int64     `json:"event_id"`
				CreatedAt time.Time `json:"created_at"`
			}
			if err := json.Unmarshal([]byte(text), &frame); err != nil {
				t.Fatal(err)
			}
			if r.seen++; frame.EventID != r.seen || frame.N != r.seen || time.Since(frame.CreatedAt).Abs() > time.Hour {
				t.Fatalf("got %s, want event %d", text, r.seen)
			}
		case err := <-r.closed:
			t.Fatalf("closed (%v) after event %d of %d", err, r.seen, upTo)
		case <-time.After(patience):
			t.Fatalf("event %d of %d did not come", r.seen+1, upTo)
		}
	}
}

// leave reads the events up to a number, or what was read before, and drops the connection, whatever else is
// on its way.
func (r *resumer) leave(t *testing.T, upTo int) {
	t.Helper()
	r.expect(t, int64(upTo))
	_ = r.conn.Close()
}

// resume opens a socket that goes on after an event.
func (p *pod) resume(t *testing.T, user, after int64) *client {
	t.Helper()
	url := fmt.Sprintf("%s?token=user-%d&last_event_id=%d", p.url(user), user, after)
	conn, response, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatalf("resume after %d: %v (%+v)", after, err, response)
	}
	_ = response.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{conn: conn, frames: make(chan string, 4096), closed: make(chan error, 1)}
	go c.read()
	return c
}

func TestResumeReplaysWhatFollowsThenGoesOn(t *testing.T) {
	t.Parallel()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		p := startPod(t, db, pubsub.Embedded)
		p.addUsers(t, 7, 8)
		p.notify(t, 8, numbered{User: 8, N: 1})
		for n := range 4 {
			p.notify(t, 7, numbered{User: 7, N: n + 1})
		}
		for after, first := range map[int64]int64{0: 1, 2: 3, 4: 5, 5: 5, 1<<63 - 1: 5} {
			c := resumer{client: p.resume(t, 7, after), seen: first - 1}
			c.expect(t, 4)
			defer func() {
				c.expect(t, 5)
				c.expectNothing(t)
			}()
		}
		plain := p.connect(t, 7)
		expectOpen(t, p, 6)
		p.notify(t, 7, numbered{User: 7, N: 5})
		plain.expect(t, numbered{User: 7, N: 5}.String())
	})
}

func TestNumberedFrameByteForByte(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	p.addUsers(t, 7)
	event := p.commit(t, 7, map[string]string{"type": "order_notification"})
	empty := p.commit(t, 7, struct{}{})
	p.resume(t, 7, 0).expect(t,
		`{"type":"order_notification","event_id":1,"created_at":"`+event.CreatedAt.Format("2006-01-02T15:04:05Z")+`"}`,
		`{"event_id":2,"created_at":"`+empty.CreatedAt.Format("2006-01-02T15:04:05Z")+`"}`)
}

// Events that retention removed are no gap: the replay begins with, or goes on at, what is still there.
func TestResumeSkipsWhatIsKeptNoLonger(t *testing.T) {
	t.Parallel()
	databasetest.ForEachEngine(t, func(t *testing.T, db *database.DB) {
		p := startPod(t, db, pubsub.Embedded)
		p.addUsers(t, 7, 8)
		remove := func(user int64, ids ...int64) {
			err := db.WithContext(t.Context()).Exec("DELETE FROM notification_events WHERE user_id = ? AND event_id IN ?", user, ids).Error
			if err != nil {
				t.Fatal(err)
			}
		}
		for n := range 6 {
			p.commit(t, 7, numbered{User: 7, N: n + 1})
			p.commit(t, 8, numbered{User: 8, N: n + 1})
		}
		remove(7, 1, 2, 3, 5)
		remove(8, 1, 2, 3, 4, 5, 6)

		some := resumer{client: p.resume(t, 7, 1), seen: 3}
		some.expect(t, 4)
		some.seen = 5
		some.expect(t, 6)
		none := resumer{client: p.resume(t, 8, 2), seen: 6}
		none.expectNothing(t)
		p.notify(t, 8, numbered{User: 8, N: 7})
		none.expect(t, 7)
	})
}

func TestLastEventIDThatIsNone(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	for _, id := range []string{"", "-1", "x", "1.5", "9223372036854775808", "%00"} {
		status, body := refused(t, p.url(7)+"?token=user-7&last_event_id="+id)
		if status != 400 || body != `{"last_event_id":["A valid integer is required."]}` {
			t.Errorf("%q: %d %s", id, status, body)
		}
	}
}

// refused is the answer to a handshake that is not accepted, with its whole body.
func refused(t *testing.T, url string) (status int, body string) {
	t.Helper()
	_, response, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	if response == nil || err == nil {
		t.Fatalf("%s: %v, %v", url, response, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body) // the library keeps its first kilobyte
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
