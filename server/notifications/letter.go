package notifications

import "github.com/shopkeeper-dev/shopkeeper/server/outbox"

// letter is an event on its way to the sockets of its user. Each form of its frame is made once, however
// many sockets get it.
type letter struct {
	outbox.Event

	after    int64 // no event exists between this id and the event's
	numbered []byte
}

// frame is what a socket sends, numbered for one that resumes.
func (l *letter) frame(numbered bool) []byte {
	if !numbered {
		return l.Frame
	}
	if l.numbered == nil {
		l.numbered = l.NumberedFrame()
	}
	return l.numbered
}
