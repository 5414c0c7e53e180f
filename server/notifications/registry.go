package notifications

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	shards         = 64
	socketsPerUser = 50 // on this pod
)

// registry knows the open sockets of each user. It is sharded so that sockets that come and go do not hold
// up deliveries to others.
type registry struct {
	open   atomic.Int64
	shards [shards]shard
}

type shard struct {
	sync.RWMutex

	users map[int64][]*socket // a slice is replaced, never changed: whoever got it may keep reading
}

func (r *registry) shard(userID int64) *shard { return &r.shards[uint64(userID)%shards] } //nolint:gosec // any shard will do

// add returns a socket that is one too many for its user: the oldest, whose client may be long gone.
func (r *registry) add(s *socket) (surplus *socket) {
	shard := r.shard(s.userID)
	shard.Lock()
	defer shard.Unlock()
	if shard.users == nil {
		shard.users = map[int64][]*socket{}
	}
	sockets := append(slices.Clip(shard.users[s.userID]), s)
	shard.users[s.userID] = sockets
	r.open.Add(1)
	if extra := len(sockets) - socketsPerUser; extra > 0 {
		return sockets[extra-1] // those before it were told when it came
	}
	return nil
}

func (r *registry) remove(s *socket) {
	shard := r.shard(s.userID)
	shard.Lock()
	defer shard.Unlock()
	rest := slices.DeleteFunc(slices.Clone(shard.users[s.userID]), func(other *socket) bool { return other == s })
	if len(rest) == 0 {
		delete(shard.users, s.userID)
	} else {
		shard.users[s.userID] = rest
	}
	r.open.Add(-1)
}

// of returns the sockets of a user.
func (r *registry) of(userID int64) []*socket {
	shard := r.shard(userID)
	shard.RLock()
	defer shard.RUnlock()
	return shard.users[userID]
}

// all yields every socket. No lock is held meanwhile.
func (r *registry) all(yield func(*socket) bool) {
	for i := range r.shards {
		for _, s := range r.shards[i].list() {
			if !yield(s) {
				return
			}
		}
	}
}

func (s *shard) list() []*socket {
	s.RLock()
	defer s.RUnlock()
	var all []*socket
	for _, sockets := range s.users {
		all = append(all, sockets...)
	}
	return all
}

// userSet is a set of users that one goroutine works through.
type userSet struct {
	mu    sync.Mutex
	users map[int64]struct{}
	more  chan struct{} // has room for one: the set is not empty
}

func newUserSet() *userSet {
	return &userSet{users: map[int64]struct{}{}, more: make(chan struct{}, 1)}
}

func (u *userSet) add(userIDs ...int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range userIDs {
		u.users[id] = struct{}{}
	}
	if len(u.users) > 0 {
		u.signal()
	}
}

func (u *userSet) size() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.users)
}

func (u *userSet) signal() {
	select {
	case u.more <- struct{}{}:
	default:
	}
}

// wait removes and returns at most limit users as soon as there is one, and none when ctx ends.
func (u *userSet) wait(ctx context.Context, limit int) []int64 {
	select {
	case <-ctx.Done():
		return nil
	case <-u.more:
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.some(limit)
	for _, id := range taken {
		delete(u.users, id)
	}
	if len(u.users) > 0 {
		u.signal()
	}
	return taken
}

func (u *userSet) some(limit int) []int64 {
	some := make([]int64, 0, min(limit, len(u.users)))
	for id := range u.users {
		if len(some) == limit {
			break
		}
		some = append(some, id)
	}
	return some
}
