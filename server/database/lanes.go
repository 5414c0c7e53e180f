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
	turn      chan *group[P] // gets those to go together, or nil when it was taken along
}

// group is those that go together. The first drives, the others are told when it is over.
type group[P any] struct {
	passengers []P
	others     []*waiting[P]
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
	var ours *group[P]
	select {
	case ours = <-one.turn:
	case <-ctx.Done():
		if l.withdraw(one) {
			return ctx.Err()
		}
		ours = <-one.turn // just now
	}
	if ours == nil {
		return nil
	}
	defer l.leave()
	defer func() { // whatever happened, nobody waits for ever
		for _, other := range ours.others {
			other.turn <- nil
		}
	}()
	drive(ours.passengers)
	return nil
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
	one := &waiting[P]{passenger: passenger, turn: make(chan *group[P], 1)}
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
	first := l.waiting[0]
	next := &group[P]{passengers: []P{first.passenger}}
	l.waiting = slices.DeleteFunc(slices.Delete(l.waiting, 0, 1), func(one *waiting[P]) bool {
		goes := l.fits(next.passengers, one.passenger)
		if goes {
			next.passengers, next.others = append(next.passengers, one.passenger), append(next.others, one)
		}
		return goes
	})
	first.turn <- next
}
