package database

import (
	"context"
	"slices"
	"sync"
)

// Lanes bound how much of a kind is done at once. What waits for a lane goes together with others that wait, for
// what is done together costs less; what finds a lane free goes by itself, at once.
type Lanes[P any] struct {
	fits func(together []P, next P) bool

	mutex   sync.Mutex
	free    int
	waiting []*waiting[P] // those that have waited longest come first
}

type waiting[P any] struct {
	passenger P
	turn      chan []*waiting[P] // gets those to take along, itself the first, or nil when it was taken along
}

// NewLanes makes so many lanes. fits tells who may go with those that go together already, of whom there is one at
// least: it bounds how many they are, too.
func NewLanes[P any](count int, fits func(together []P, next P) bool) *Lanes[P] {
	return &Lanes[P]{fits: fits, free: count}
}

// Pass returns when drive has returned, which gets the passengers that go together: that of this call or that of
// another, who took this passenger along. If ctx ends before it is this one's turn, nothing is done.
func (l *Lanes[P]) Pass(ctx context.Context, passenger P, drive func(together []P)) error {
	one := l.enter(passenger)
	if one == nil {
		defer l.leave()
		drive([]P{passenger})
		return nil
	}
	var group []*waiting[P]
	select {
	case group = <-one.turn:
	case <-ctx.Done():
		if l.withdraw(one) {
			return ctx.Err()
		}
		group = <-one.turn // just now
	}
	if group == nil {
		return nil
	}
	defer l.leave()
	defer func() { // whatever happened, nobody waits for ever
		for _, other := range group[1:] {
			other.turn <- nil
		}
	}()
	drive(passengers(group))
	return nil
}

func passengers[P any](group []*waiting[P]) []P {
	together := make([]P, len(group))
	for n, one := range group {
		together[n] = one.passenger
	}
	return together
}

// Waiting is how many wait for a lane.
func (l *Lanes[P]) Waiting() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return len(l.waiting)
}

// enter takes a lane, or has the passenger wait for one.
func (l *Lanes[P]) enter(passenger P) *waiting[P] {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.free > 0 {
		l.free--
		return nil
	}
	one := &waiting[P]{passenger: passenger, turn: make(chan []*waiting[P], 1)}
	l.waiting = append(l.waiting, one)
	return one
}

// withdraw is false when the passenger's turn has come.
func (l *Lanes[P]) withdraw(one *waiting[P]) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	at := slices.Index(l.waiting, one)
	if at < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, at, at+1)
	return true
}

// leave gives a lane to whoever has waited longest, with those that may go along.
func (l *Lanes[P]) leave() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.waiting) == 0 {
		l.free++
		return
	}
	group, together := []*waiting[P]{l.waiting[0]}, []P{l.waiting[0].passenger}
	l.waiting = slices.DeleteFunc(l.waiting, func(one *waiting[P]) bool {
		first := one == group[0]
		goes := first || l.fits(together, one.passenger)
		if goes && !first {
			group, together = append(group, one), append(together, one.passenger)
		}
		return goes
	})
	group[0].turn <- group
}
