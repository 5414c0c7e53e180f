package httpapi

import (
	"container/list"
	"net"
	"sync"

	"github.com/valyala/fasthttp"
)

// newcomers are the connections of a listener that are no WebSocket yet, in the order in which they came. When
// there are too many the oldest has to go: a handshake takes milliseconds, so the oldest is one that never ends,
// and whoever comes behind thousands of those is served as ever.
type newcomers struct {
	limit int

	mu    sync.Mutex
	order list.List // of net.Conn
	known map[net.Conn]*list.Element
}

func newNewcomers(limit int) *newcomers {
	return &newcomers{limit: limit, known: map[net.Conn]*list.Element{}}
}

// note is told of each connection as it comes, becomes a WebSocket or ends.
func (n *newcomers) note(conn net.Conn, state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew:
		if oldest := n.add(conn); oldest != nil {
			_ = oldest.Close() // whoever serves it finds out
		}
	case fasthttp.StateHijacked, fasthttp.StateClosed:
		n.remove(conn)
	}
}

// add returns the connection that has to go, if there is one.
func (n *newcomers) add(conn net.Conn) (oldest net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[conn] = n.order.PushBack(conn)
	if n.order.Len() <= n.limit {
		return nil
	}
	oldest, _ = n.order.Remove(n.order.Front()).(net.Conn)
	delete(n.known, oldest)
	return oldest
}

func (n *newcomers) remove(conn net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if element, known := n.known[conn]; known {
		n.order.Remove(element)
		delete(n.known, conn)
	}
}
