package catalog

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

const (
	pageLifetime = 500 * time.Millisecond // however little is heard of other pods, nothing older is sent
	pageBytes    = 16 << 20               // that the kept pages may take, as near as it can be told
	pageOverhead = 256                    // bytes a page besides its key and body
	shownBytes   = 192                    // bytes for each product on a page
	mostMoves    = 10_000                 // products whose moves of stock are remembered
	movesLife    = 30 * time.Second       // for which they are, at least, and twice that at most; no query takes as long
)

// page is an answer and what it tells of.
type page struct {
	value   any
	shown   []*listedProduct       // parts of value whose stock may move
	encoded httpapi.Representation // of value
	moves   uint64                 // of those noted, how many it knows of

	key  string
	size int
	born time.Time // when its query began, at the latest
	used atomic.Bool
}

// flight is a query under way, for all who ask the same meanwhile.
type flight struct {
	began  uint64 // the number of flushes that the query is sure to see
	done   chan struct{}
	page   *page
	answer httpapi.Representation
	stale  bool // a flush came too late for the query
	err    error
}

// pages keeps answers until what they tell changes. Whoever asks gets an answer that has every change noted
// before the question: one kept, or the outcome of a query that began after the last flush. Moves of stock,
// the most frequent change by far, are put into the answers that are there.
type pages struct {
	mutex   sync.RWMutex
	kept    map[string]*page
	bytes   int
	flights map[string]*flight

	flushes uint64
	moves   uint64 // that were noted

	// The levels of the stocks that moved, and those from before the turn. None is kept for long: in a database
	// that was set back to an earlier state, stocks have made fewer moves than are known of here.
	levels, older map[int64]level
	turned        time.Time
}

func newPages() *pages {
	return &pages{kept: map[string]*page{}, flights: map[string]*flight{}, flushes: 1, levels: map[int64]level{}}
}

// get returns the answer of a key, and loads it if need be: once for all who ask at the same time.
func (p *pages) get(ctx context.Context, key []byte, load func() (*page, error)) (httpapi.Representation, error) {
	p.mutex.RLock()
	if found := p.kept[string(key)]; isFresh(found) && found.moves == p.moves { // no copy of the key is made for this
		defer p.mutex.RUnlock()
		if !found.used.Load() {
			found.used.Store(true)
		}
		return found.encoded, nil
	}
	p.mutex.RUnlock()
	return p.await(ctx, string(key), load)
}

func isFresh(found *page) bool { return found != nil && time.Since(found.born) < pageLifetime }

func (p *pages) await(ctx context.Context, key string, load func() (*page, error)) (httpapi.Representation, error) {
	p.mutex.Lock()
	for asked := p.flushes; ; p.mutex.Lock() {
		if found := p.kept[key]; isFresh(found) {
			answer, err := p.upToDate(found)
			p.mutex.Unlock()
			return answer, err
		}
		under, ok := p.flights[key]
		if !ok {
			under = &flight{began: p.flushes, done: make(chan struct{})}
			p.flights[key] = under
			p.mutex.Unlock()
			p.fly(key, under, load)
			return under.answer, under.err
		}
		p.mutex.Unlock()
		select {
		case <-under.done:
		case <-ctx.Done():
			return httpapi.Representation{}, ctx.Err()
		}
		if !under.stale || under.began >= asked {
			return under.answer, under.err
		}
	}
}

var errNoPage = errors.New("the query for a page of the catalogue came to no end")

// fly runs a query and keeps its outcome, unless that is out of date already.
func (p *pages) fly(key string, f *flight, load func() (*page, error)) {
	born := time.Now()
	f.err = errNoPage // to those who wait, if load panics
	defer func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		defer close(f.done)
		delete(p.flights, key)
		if f.err == nil {
			p.land(key, f, born)
		}
	}()
	f.page, f.err = load()
}

// land brings the outcome of a query up to date and keeps it.
func (p *pages) land(key string, f *flight, born time.Time) {
	f.answer, f.err = p.upToDate(f.page)
	f.stale = p.flushes > f.began
	if f.err == nil && !f.stale {
		f.page.key, f.page.born = key, born
		p.keep(f.page)
	}
}

// upToDate puts the moves of stock that a page does not know of yet into it, and returns the answer.
func (p *pages) upToDate(old *page) (httpapi.Representation, error) {
	if old.moves == p.moves {
		return old.encoded, nil
	}
	p.turn()
	changed := false
	for _, product := range old.shown {
		now := p.older[product.ID]
		if later := p.levels[product.ID]; later.Moves > now.Moves {
			now = later
		}
		if now.Moves > product.moves {
			product.Stock, product.IsInStock, product.moves = now.Stock, now.Stock > 0, now.Moves
			changed = true
		}
	}
	if changed {
		encoded, err := httpapi.Represent(old.value)
		if err != nil {
			return encoded, err
		}
		old.encoded = encoded
	}
	old.moves = p.moves
	return old.encoded, nil
}

func (p *pages) keep(fresh *page) {
	if old := p.kept[fresh.key]; old != nil {
		p.drop(old)
	}
	p.kept[fresh.key] = fresh
	fresh.size = len(fresh.key) + len(fresh.encoded.Body) + pageOverhead + shownBytes*len(fresh.shown)
	p.bytes += fresh.size
	for p.bytes > pageBytes {
		for _, old := range p.kept {
			if p.bytes <= pageBytes {
				break
			}
			if !old.used.Swap(false) || !isFresh(old) { // whatever was asked for again gets a second chance
				p.drop(old)
			}
		}
	}
}

func (p *pages) drop(old *page) {
	delete(p.kept, old.key)
	p.bytes -= old.size
}

// flush notes a change that may concern every page.
func (p *pages) flush() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.flushes++
	p.kept, p.bytes = map[string]*page{}, 0
}

// move notes levels of stock, in any order.
func (p *pages) move(levels []level) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.turn()
	p.moves++
	for _, now := range levels {
		keepLatest(p.levels, now)
	}
	if len(p.levels) > mostMoves {
		p.forget()
	}
}

// turn lets go of levels that have come of age.
func (p *pages) turn() {
	age := time.Since(p.turned)
	if age < movesLife {
		return
	}
	p.older = p.levels
	if age > 2*movesLife {
		p.older = nil
	}
	p.levels, p.turned = map[int64]level{}, time.Now()
}

// forget lets go of all levels, and of all that would need them.
func (p *pages) forget() {
	p.levels, p.older = map[int64]level{}, nil
	p.flushes++
	p.kept, p.bytes = map[string]*page{}, 0
	for _, under := range p.flights {
		under.began = 0
	}
}
