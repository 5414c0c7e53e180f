package notifications

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/shopkeeper-dev/shopkeeper/server/outbox"
	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

func TestSocketIsPingedAndStaysOpenWhileItAnswers(t *testing.T) {
	t.Parallel()
	const every = 100 * time.Millisecond
	p := startPod(t, migrated(t), pubsub.Embedded, paced(func(pace *pace) {
		pace.tend, pace.ping, pace.silence = 10*time.Millisecond, every, 4*every
	}))
	began := time.Now()
	answering, silent := p.dial(t, 7, "user-7"), p.dial(t, 8, "user-8")
	pings := make(chan struct{}, 1000)
	answer := answering.conn.PingHandler()
	answering.conn.SetPingHandler(func(data string) error {
		pings <- struct{}{}
		return answer(data)
	})
	silent.conn.SetPingHandler(func(string) error { return nil })
	go answering.read()
	go silent.read()

	select {
	case err := <-silent.closed:
		t.Logf("the silent peer is dropped: %v", err)
	case <-time.After(patience):
		t.Fatal("a silent peer stays")
	}
	expectOpen(t, p, 1)
	time.Sleep(time.Second)
	answering.expectNothing(t)
	n := len(pings)
	if most := int(time.Since(began) / every); n < 5 || n > most {
		t.Errorf("%d pings, want 5 to %d", n, most)
	}
}

// A peer's own pings are signs of life too, and are answered.
func TestPeersPingIsAnswered(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	c := p.dial(t, 7, "user-7")
	answered := make(chan string, 1)
	c.conn.SetPongHandler(func(data string) error {
		answered <- data
		return nil
	})
	go c.read()
	if err := c.conn.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	select {
	case data := <-answered:
		if data != "hello" {
			t.Errorf("answered %q", data)
		}
	case <-time.After(patience):
		t.Error("not answered")
	}
}

func TestSocketClosesWhenItsTokenEnds(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded, paced(func(pace *pace) { pace.tend = 10 * time.Millisecond }))
	began := time.Now()
	brief, lasting := p.connectAs(t, 7, "brief-7"), p.connect(t, 7)
	brief.expectClose(t, 4401, "token expired")
	if after := time.Since(began); after < 900*time.Millisecond {
		t.Errorf("closed after %s, before the token's end", after)
	}
	lasting.expectNothing(t)
	expectOpen(t, p, 1)
}

func TestWhatClientsMayNotSend(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	for name, test := range map[string]struct {
		send   func(*client) error
		code   int
		reason string
	}{
		"too large": {code: websocket.CloseMessageTooBig, send: func(c *client) error {
			return c.conn.WriteMessage(websocket.TextMessage, make([]byte, messageLimit+1))
		}},
		"too large in pieces": {code: websocket.CloseMessageTooBig, send: func(c *client) error {
			writer, err := c.conn.NextWriter(websocket.TextMessage)
			for sent := 0; err == nil && sent < lingerLimit/2; sent += 1 << 10 {
				_, err = writer.Write(make([]byte, 1<<10))
			}
			return err
		}},
		"far too large": {code: websocket.CloseMessageTooBig, send: func(c *client) error {
			return c.conn.WriteMessage(websocket.BinaryMessage, make([]byte, lingerLimit/2))
		}},
		"claims to be enormous": {code: websocket.CloseMessageTooBig, send: func(c *client) error {
			return c.sendRaw(0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4)
		}},
		"not masked": {code: websocket.CloseProtocolError, reason: "bad MASK", send: func(c *client) error {
			return c.sendRaw(0x81, 0x01, 'a')
		}},
		"not a kind of frame": {code: websocket.CloseProtocolError, reason: "bad opcode 7", send: func(c *client) error {
			return c.sendRaw(0x87, 0x80, 1, 2, 3, 4)
		}},
		"compressed": {code: websocket.CloseProtocolError, reason: "RSV1 set", send: func(c *client) error {
			return c.sendRaw(0xc1, 0x80, 1, 2, 3, 4)
		}},
		"a piece of nothing": {code: websocket.CloseProtocolError, reason: "continuation after FIN", send: func(c *client) error {
			return c.sendRaw(0x80, 0x80, 1, 2, 3, 4)
		}},
		"a message in a message": {code: websocket.CloseProtocolError, reason: "data before FIN", send: func(c *client) error {
			return c.sendRaw(0x01, 0x80, 1, 2, 3, 4, 0x81, 0x80, 1, 2, 3, 4)
		}},
		"a ping in pieces": {code: websocket.CloseProtocolError, reason: "FIN not set on control", send: func(c *client) error {
			return c.sendRaw(0x09, 0x80, 1, 2, 3, 4)
		}},
		"a ping too long": {code: websocket.CloseProtocolError, reason: "len > 125 for control", send: func(c *client) error {
			return c.sendRaw(append([]byte{0x89, 0xfe, 0x00, 0x7e, 1, 2, 3, 4}, make([]byte, 126)...)...)
		}},
		"a close with a code that is none": {code: websocket.CloseProtocolError, reason: "bad close code 1005", send: func(c *client) error {
			return c.sendRaw(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed)
		}},
		"garbage": {code: websocket.CloseProtocolError, reason: "RSV1 set, RSV2 set, RSV3 set, bad opcode 15, bad MASK", send: func(c *client) error {
			return c.sendRaw(0xff, 0x7e, 0xff, 0xff, 0xff, 0xff)
		}},
		"says goodbye": {code: websocket.CloseNormalClosure, send: func(c *client) error {
			message := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
			return c.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(patience))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.connect(t, 7)
			_ = test.send(c) // the close may come before all is sent
			c.expectClose(t, test.code, test.reason)
			c.expectCleanEnd(t)
		})
	}
	expectOpen(t, p, 0)
}

func TestWhatClientsMaySendHasNoEffect(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	p.addUsers(t, 7)
	c := p.connect(t, 7)
	for _, message := range [][]byte{{}, []byte("{}"), []byte(`{"type":"hello","token":"forged"}`), []byte(`["auth"]`), make([]byte, messageLimit), []byte("\xff\xfe")} {
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			if err := c.conn.WriteMessage(kind, message); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.expectNothing(t)
	p.notify(t, 7, numbered{User: 7, N: 1})
	c.expect(t, upTo(7, 1)...)
}

// A message may come in pieces, with a ping between them.
func TestMessageInPieces(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	c := p.connect(t, 7)
	for _, piece := range []struct {
		kind, size byte // masked with nothing
		text       string
	}{{0x01, 0x8f, `{"type":"auth",`}, {0x00, 0x80, ""}, {0x80, 0x91, `"token":"forged"}`}} {
		if err := c.sendRaw(append([]byte{piece.kind, piece.size, 0, 0, 0, 0}, piece.text...)...); err != nil {
			t.Fatal(err)
		}
		if err := c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	c.expectClose(t, 4401, "token not valid")
}

// The client's side ends while ours is open: nobody reads any more.
func TestHalfOpenSocketIsClosed(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	half, other := p.dial(t, 7, "user-7"), p.connect(t, 7)
	expectOpen(t, p, 2)
	connection, ok := half.conn.NetConn().(*net.TCPConn)
	if !ok || connection.CloseWrite() != nil {
		t.Fatal("cannot end the client's side")
	}
	expectOpen(t, p, 1)
	other.expectNothing(t)
}

// A client says who it is again, on the open socket, and so outlives the token that opened it.
func TestSocketLivesOnWithAnotherToken(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded, paced(func(pace *pace) { pace.tend = 10 * time.Millisecond }))
	renewed, watched := p.connectAs(t, 7, "brief-7"), p.connectAs(t, 7, "brief-7")
	unknown := p.connectAs(t, 7, "brief-7")
	renewed.say(t, `{"type":"auth","token":"user-7"}`)
	watched.say(t, `{"type":"auth","token":"staff-1"}`)
	unknown.say(t, `{"type":"auth","token":"unknown-7"}`)
	unknown.expectClose(t, 4401, "token expired")
	time.Sleep(200 * time.Millisecond)
	renewed.expectNothing(t)
	watched.expectNothing(t)
	expectOpen(t, p, 2)
	renewed.say(t, `{"type":"auth","token":"brief-7"}`) // the last one counts
	renewed.expectClose(t, 4401, "token expired")
}

func TestBadTokenOnAnOpenSocketClosesIt(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	for _, said := range []string{
		`{"type":"auth","token":"forged"}`, `{"type":"auth","token":"user-8"}`, `{"type":"auth","token":""}`, `{"type":"auth"}`,
	} {
		c := p.connect(t, 7)
		c.say(t, said)
		c.expectClose(t, 4401, "token not valid")
	}
	expectOpen(t, p, 0)
}

func TestTalkativeClientIsClosed(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded, paced(func(pace *pace) { pace.farewell = 100 * time.Millisecond }))
	for name, kind := range map[string]int{"text": websocket.TextMessage, "binary": websocket.BinaryMessage,
		"ping": websocket.PingMessage, "pong": websocket.PongMessage} {
		t.Run(name, func(t *testing.T) {
			c := p.connect(t, 7)
			for err := error(nil); err == nil; { // goes on after it was told
				if kind == websocket.PingMessage || kind == websocket.PongMessage {
					err = c.conn.WriteControl(kind, nil, time.Now().Add(patience))
				} else {
					err = c.conn.WriteMessage(kind, []byte("{}"))
				}
			}
			c.expectClose(t, websocket.ClosePolicyViolation, "too many messages")
		})
	}
	expectOpen(t, p, 0)
}

func TestOldestOfTooManySocketsIsClosed(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	var clients []*client
	for n := range socketsPerUser + 2 {
		clients = append(clients, p.connect(t, 7))
		expectOpen(t, p, min(n+1, socketsPerUser))
	}
	p.connect(t, 8)
	for _, c := range clients[:2] {
		c.expectClose(t, websocket.ClosePolicyViolation, "too many sockets")
	}
	expectOpen(t, p, socketsPerUser+1)
	clients[2].expectNothing(t)
}

func TestSlowReaderIsDroppedWithoutHoldingOthersUp(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded, paced(func(pace *pace) { pace.write = time.Minute }))
	p.addUsers(t, 7)
	slow, quick := p.dial(t, 7, "user-7"), p.connect(t, 7)
	connection, ok := slow.conn.NetConn().(*net.TCPConn)
	// Room for some segments of the loopback, 64 KiB each: a window without room for one opens only when the sender's
	// timer asks, which waits twice as long each time.
	if !ok || connection.SetReadBuffer(256<<10) != nil {
		t.Fatal("cannot make the reader slow")
	}
	filler := strings.Repeat("x", queueLimit/4)
	frame := `{"filler":"` + filler + `"}`
	event := p.commitUnheard(t, 7, map[string]string{"filler": filler})
	for closing := false; !closing; event.EventID++ {
		for _, s := range p.hub.sockets.of(7) {
			s.mu.Lock()
			closing = closing || s.closing
			s.mu.Unlock()
		}
		p.hub.deliver(event)
		quick.expect(t, frame)
	}
	go slow.read()
	for got := range slow.untilClosed(t) {
		if got != frame {
			t.Fatalf("the slow reader got %.20q…", got)
		}
	}
	expectOpen(t, p, 1)
}

// A socket that misses more than one query reads, or more than its queue holds, gets all of it, as fast as
// its peer reads.
func TestCatchUpGoesAtTheReadersPace(t *testing.T) {
	t.Parallel()
	for name, missed := range map[string]struct{ events, size int }{
		"many events": {events: 3 * catchUpEvents / 2, size: 1},
		"many bytes":  {events: 100, size: queueLimit / 25},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPod(t, migrated(t), pubsub.Embedded)
			p.addUsers(t, 7)
			c := p.connect(t, 7)
			var frames []any
			var want []string
			for n := range missed.events {
				text := fmt.Sprintf("%0*d", missed.size, n)
				frames, want = append(frames, map[string]string{"text": text}), append(want, `{"text":"`+text+`"}`)
			}
			p.commitUnheard(t, 7, frames...)
			p.hub.mistrustAll()
			c.expect(t, want...)
		})
	}
}

func TestReplayThatFindsTheQueueHalfFullIsAskedForAgain(t *testing.T) {
	t.Parallel()
	s := &socket{writing: true, queued: queueLimit / 2}
	s.replay(&letter{Event: outbox.Event{EventID: 1, Frame: []byte("{}")}})
	if cursor, stale := s.trust(); cursor != 0 || !stale {
		t.Errorf("cursor %d, stale %v; want 0, true", cursor, stale)
	}
}

func TestDrainSpreadsTheClosesAndWaitsForThem(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	const sockets, over = 20, time.Second
	var clients []*client
	for range sockets {
		clients = append(clients, p.connect(t, 7))
	}
	expectOpen(t, p, sockets)
	var ended []time.Duration
	var mu sync.Mutex
	var closes sync.WaitGroup
	began := time.Now()
	for _, c := range clients {
		closes.Go(func() {
			c.expectClose(t, websocket.CloseServiceRestart, "server restarting")
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, time.Since(began))
		})
	}
	p.hub.Drain(t.Context(), over)
	if open := p.hub.Open(); open != 0 {
		t.Errorf("%d sockets are open after the drain", open)
	}
	closes.Wait()
	for tenth := range 10 { // two closes in each tenth of the time, give or take
		if at := ended[2*tenth]; at < over*time.Duration(tenth)/10-50*time.Millisecond {
			t.Errorf("%d of %d closes within %s", 2*tenth+1, sockets, at)
		}
	}
}

func TestDrainDropsWhoDoesNotAnswerWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	p.dial(t, 7, "user-7") // nobody reads it, so nobody answers the close
	expectOpen(t, p, 1)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	p.hub.Drain(short, 0)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the drain took %s", took)
	}
	expectOpen(t, p, 0)
}

func TestPanicIsNotToldToTheClient(t *testing.T) {
	t.Parallel()
	p := startPod(t, migrated(t), pubsub.Embedded)
	c, other := p.connect(t, 7), p.connect(t, 7)
	c.say(t, `{"type":"auth","token":"panic-7"}`)
	c.expectClose(t, websocket.CloseInternalServerErr, "")
	if len(c.frames) != 0 {
		t.Errorf("the client was told %s", <-c.frames)
	}
	expectOpen(t, p, 1)
	other.expectNothing(t)
}

func (c *client) say(t *testing.T, text string) {
	t.Helper()
	if err := c.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// sendRaw writes bytes that a WebSocket library would not.
func (c *client) sendRaw(bytes ...byte) error {
	_, err := c.conn.NetConn().Write(bytes)
	return err
}

// expectCleanEnd is for a client that has seen the close message: the connection ends, and is not reset,
// which where networks are worse than here would have kept that message from the client.
func (c *client) expectCleanEnd(t *testing.T) {
	t.Helper()
	connection, ok := c.conn.NetConn().(*net.TCPConn)
	if !ok || connection.CloseWrite() != nil {
		t.Fatal("cannot end the client's side")
	}
	if _, err := connection.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection ended with %v", err)
	}
}

// untilClosed yields the frames until the server closes for being too slow.
func (c *client) untilClosed(t *testing.T) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			select {
			case frame := <-c.frames:
				if !yield(frame) {
					return
				}
			case err := <-c.closed:
				c.closed <- err
				c.expectClose(t, websocket.CloseTryAgainLater, "reader too slow")
				return
			case <-time.After(patience):
				t.Fatal("neither a frame nor a close")
			}
		}
	}
}
