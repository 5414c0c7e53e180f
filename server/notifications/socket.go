package notifications

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
)

const (
	queueLimit   = 64 << 10 // bytes of frames that wait for a reader before it is too slow
	messageLimit = 4 << 10  // bytes of a client's message
	readBuffer   = 256      // bytes; clients have little to say
	writeBuffer  = 1 << 10  // bytes; a frame that fits leaves in one system call
	lingerLimit  = 1 << 20  // bytes of a refused message that are read and thrown away
	talkLimit    = 20       // messages of a client in a second, pings and pongs too
)

// Close codes that RFC 6455 leaves to the application, and the reasons that go with the codes.
const (
	closeTokenExpired = 4401

	tokenExpired = "token expired"
	tokenInvalid = "token not valid"
	tooTalkative = "too many messages"
	tooSlow      = "reader too slow"
	tooMany      = "too many sockets"
	restarting   = "server restarting"
)

// pace is how often and how long.
type pace struct {
	ping     time.Duration // between two pings of a socket
	silence  time.Duration // after which a peer that says nothing, not even pong, is gone
	tend     time.Duration // between two rounds of all sockets
	poll     time.Duration // between two looks into the database while Redis is away
	write    time.Duration // for what is queued to leave
	farewell time.Duration // for the peer to answer a close
}

var usualPace = pace{
	ping: 25 * time.Second, silence: 60 * time.Second, tend: time.Second, poll: 1500 * time.Millisecond,
	write: 10 * time.Second, farewell: 5 * time.Second,
}

// writeBuffers are shared: a socket needs one only while it writes.
var writeBuffers sync.Pool

// socket is one open WebSocket. One goroutine reads it as long as it lives; another writes it, and exists
// only while there is something to write. Nobody else ever waits for the peer.
type socket struct {
	conn    *websocket.Conn
	userID  int64
	resumes bool // wants its frames numbered
	pace    *pace
	lagging *userSet // joined when the queue is written and events are missing
	writer  sync.WaitGroup

	mu      sync.Mutex
	expires time.Time // the token; zero when that is not known
	second  time.Time // when the current second of the peer's messages began
	talk    int       // its messages since then
	cursor  int64     // the last event that was put in the queue
	stale   bool      // there may be events after the cursor that only the database has
	queue   [][]byte
	queued  int    // bytes in the queue and on their way to the peer
	ping    bool   // to be sent
	bye     []byte // the close message, to be sent after the queue
	pinged  time.Time
	writing bool
	closing bool // nothing more is queued
	ended   bool // nothing more is written
}

func newSocket(conn *websocket.Conn, admitted admission, pace *pace, lagging *userSet) *socket {
	s := &socket{
		conn: conn, userID: admitted.userID, resumes: admitted.resumes, expires: admitted.expires, pace: pace, lagging: lagging,
		cursor: admitted.cursor, stale: true,
		pinged: time.Now().Add(-rand.N(pace.ping / 2)), //nolint:gosec // spreads the pings of those who came at once
	}
	conn.SetReadLimit(messageLimit)
	conn.SetPongHandler(func(string) error { s.heard(); return nil })
	answer := conn.PingHandler()
	conn.SetPingHandler(func(data string) error { s.heard(); return answer(data) })
	return s
}

// read listens until the connection ends. That a client says something shows that it is there; what it says
// in text is for received, which may take its time.
func (s *socket) read(received func(text []byte)) {
	var err error
	for err == nil {
		s.heard()
		var kind int
		var message []byte
		kind, message, err = s.conn.ReadMessage()
		if err == nil && kind == websocket.TextMessage && !s.isClosing() {
			received(message)
		}
	}
	var closed *websocket.CloseError
	var network net.Error
	if !errors.As(err, &closed) && !errors.As(err, &network) {
		s.linger()
	}
}

// heard gives the peer time until its next sign of life, unless there are too many of them.
func (s *socket) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	now := time.Now()
	_ = s.conn.SetReadDeadline(now.Add(s.pace.silence)) // fails once closed, as the next read does
	if now.Sub(s.second) >= time.Second {
		s.second, s.talk = now, 0
	}
	if s.talk++; s.talk > talkLimit {
		s.farewell(websocket.ClosePolicyViolation, tooTalkative)
	}
}

func (s *socket) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// extend lets the socket live until another token expires.
func (s *socket) extend(expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expires = expires
}

// linger reads what a refused peer goes on sending. Closed with bytes unread, the connection would be reset,
// and the peer might never see the close message that tells it why.
func (s *socket) linger() {
	_ = s.conn.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.CopyN(io.Discard, s.conn.NetConn(), lingerLimit) // ends one way or another
}

// end waits for the writer and closes the connection.
func (s *socket) end() {
	s.mu.Lock()
	s.closing, s.ended = true, true
	s.mu.Unlock()
	s.writer.Wait()
	_ = s.conn.Close() // all that mattered has been said
}

// deliver queues an event as it is published. It reports whether the socket now needs the database.
func (s *socket) deliver(l *letter) (lags bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.isNext(l):
		return s.lags()
	case s.queued+len(l.frame(s.resumes)) > queueLimit:
		s.queue = nil // it would take too long, and whoever resumes gets it
		s.farewell(websocket.CloseTryAgainLater, tooSlow)
	default:
		s.put(l)
	}
	return false
}

// replay queues an event from the database, unless the queue is half full: then the socket stays stale, and
// asks again once the queue is written.
func (s *socket) replay(l *letter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.isNext(l):
	case s.queued > 0 && s.queued+len(l.frame(s.resumes)) > queueLimit/2:
		s.stale = true
	default:
		s.put(l)
	}
}

// isNext reports whether an event is the one after the cursor. An event further on shows that some are
// missing.
func (s *socket) isNext(l *letter) bool {
	if s.closing || l.EventID <= s.cursor {
		return false
	}
	if l.after > s.cursor {
		s.stale = true
		return false
	}
	return true
}

func (s *socket) put(l *letter) {
	frame := l.frame(s.resumes)
	s.cursor = l.EventID
	s.queue = append(s.queue, frame)
	s.queued += len(frame)
	s.wake()
}

// mistrust makes the socket stale.
func (s *socket) mistrust() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = true
}

// trust returns the cursor and whether the socket was stale, which it no longer is.
func (s *socket) trust() (cursor int64, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stale, s.stale = s.stale, false
	return s.cursor, stale
}

// needsDatabase reports whether the socket lags.
func (s *socket) needsDatabase() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lags()
}

// lags is true of a socket that misses events and has nothing to write: one that is busy asks afterwards.
func (s *socket) lags() bool {
	return s.stale && !s.writing && !s.closing
}

// tend does what is due.
func (s *socket) tend(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.expires.IsZero() && !now.Before(s.expires):
		s.farewell(closeTokenExpired, tokenExpired)
	case now.Sub(s.pinged) >= s.pace.ping:
		s.pinged, s.ping = now, true
		s.wake()
	}
}

// close sends what is queued, then a close message, and gives the peer time to answer it.
func (s *socket) close(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.farewell(code, reason)
}

// cut ends the connection without a word.
func (s *socket) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.NetConn().SetDeadline(time.Now()) // fails only when it is closed already
}

func (s *socket) farewell(code int, reason string) {
	if !s.closing {
		s.closing = true
		s.bye = websocket.FormatCloseMessage(code, reason)
		s.wake()
	}
}

// wake sees to it that somebody writes.
func (s *socket) wake() {
	if !s.writing && !s.ended {
		s.writing = true
		s.writer.Go(s.write)
	}
}

// work is what the writer takes at a time.
type work struct {
	frames [][]byte
	size   int
	ping   bool
	bye    []byte
}

// write sends until nothing is left, or the connection fails.
func (s *socket) write() {
	var done work
	for {
		next, more := s.next(done)
		if !more {
			return
		}
		if err := s.send(next); err != nil {
			s.stopWriting(0)
			return
		}
		if next.bye != nil {
			s.stopWriting(s.pace.farewell)
			return
		}
		done = next
	}
}

// next notes what was written and takes what came since.
func (s *socket) next(done work) (next work, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued -= done.size
	if s.ended || (len(s.queue) == 0 && !s.ping && s.bye == nil) {
		s.writing = false
		if s.lags() {
			s.lagging.add(s.userID)
		}
		return work{}, false
	}
	next = work{frames: s.queue, size: s.queued, ping: s.ping, bye: s.bye}
	s.queue, s.ping = nil, false
	return next, true
}

func (s *socket) send(w work) error {
	deadline := time.Now().Add(s.pace.write)
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	for _, frame := range w.frames {
		if err := s.conn.WriteMessage(websocket.TextMessage, frame); err != nil {
			return err
		}
	}
	if w.ping {
		if err := s.conn.WriteControl(websocket.PingMessage, nil, deadline); err != nil {
			return err
		}
	}
	if w.bye != nil {
		return s.conn.WriteControl(websocket.CloseMessage, w.bye, deadline)
	}
	return nil
}

// stopWriting is for a connection that failed, or has been told to end. Writing stays true, so that nobody
// writes any more, and the reader gets the time that the peer needs to answer a close message.
func (s *socket) stopWriting(patience time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	_ = s.conn.SetReadDeadline(time.Now().Add(patience)) // fails only when it is closed already
}
