package shop

import (
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// soonAfter is when a turn follows at the latest on one that told nothing.
	soonAfter = 2 * together
	// mostPatience is how many turns in a row tell nothing, should someone change
	// back each time what they change.
	mostPatience = 5
)

// patience has a turn that changed children tell nothing of them: nobody has
// looked yet at what it made. The next turn knows more, and comes at once. The
// zero value has kept nothing back.
type patience struct {
	mutex sync.Mutex
	turns map[client.ObjectKey]int // that told nothing, in a row
}

// waits reports whether a turn is to tell nothing.
func (p *patience) waits(shop client.ObjectKey, changed bool) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if !changed || p.turns[shop] >= mostPatience {
		delete(p.turns, shop)
		return false
	}
	if p.turns == nil {
		p.turns = map[client.ObjectKey]int{}
	}
	p.turns[shop]++
	return true
}
