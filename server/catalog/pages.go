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
	holderBytes  = 64                     // bytes for each product on a page
	mostMoves    = 10_000                 // products that are remembered to have moved while reads are under way
)

// page is an encoded answer and what it tells of.
type page struct {
	httpapi.Representation

	products []int64 // whose stock it shows
	key      string
	born     time.Time // when its query began, at the latest
	used     atomic.Bool
}

func (p *page) size() int {
	return len(p.key) + len(p.Body) + pageOverhead + holderBytes*len(p.products)
}

// flight is a query under way, for all who ask the same meanwhile.
type flight struct {
	began uint64 // the number of changes that the query is sure to see
	done  chan struct{}
	page  *page
	stale bool // a change came too late for the query
	err   error
}

// pages keeps encoded answers until what they tell changes. Whoever asks gets an answer that has every change
// noted before the question: a page kept, or the outcome of a query that began after the last change that
// matters to it.
type pages struct {
	mutex   sync.RWMutex
	kept    map[string]*page
	holders map[int64]map[*page]struct{} // the pages that show a product
	bytes   int
	flights map[string]*flight

	changes uint64           // how many were noted
	flushed uint64           // the last of those that concern everything
	moved   map[int64]uint64 // the last move of a product's stock that a query under way may have missed
}

func newPages() *pages {
	return &pages{
		kept: map[string]*page{}, holders: map[int64]map[*page]struct{}{},
		flights: map[string]*flight{}, moved: map[int64]uint64{},
	}
}

// get returns the page of a key, and loads it if need be: once for all who ask at the same time.
func (p *pages) get(ctx context.Context, key []byte, load func() (*page, error)) (*page, error) {
	p.mutex.RLock()
	found := p.kept[string(key)] // no copy of the key is made for this
	p.mutex.RUnlock()
	if isFresh(found) {
		if !found.used.Load() {
			found.used.Store(true)
		}
		return found, nil
	}
	return p.await(ctx, string(key), load)
}

func isFresh(found *page) bool { return found != nil && time.Since(found.born) < pageLifetime }

func (p *pages) await(ctx context.Context, key string, load func() (*page, error)) (*page, error) {
	p.mutex.Lock()
	for asked := p.changes; ; p.mutex.Lock() {
		if found := p.kept[key]; isFresh(found) {
			p.mutex.Unlock()
			return found, nil
		}
		under, ok := p.flights[key]
		if !ok {
			under = &flight{began: p.changes, done: make(chan struct{})}
			p.flights[key] = under
			p.mutex.Unlock()
			p.fly(key, under, load)
			return under.page, under.err
		}
		p.mutex.Unlock()
		select {
		case <-under.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !under.stale || under.began >= asked {
			return under.page, under.err
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
		f.stale = f.err == nil && p.isStale(f)
		if len(p.flights) == 0 {
			clear(p.moved)
		}
		if f.err == nil && !f.stale {
			f.page.key, f.page.born = key, born
			p.keep(f.page)
		}
	}()
	f.page, f.err = load()
}

func (p *pages) isStale(f *flight) bool {
	if p.flushed > f.began {
		return true
	}
	for _, id := range f.page.products {
		if p.moved[id] > f.began {
			return true
		}
	}
	return false
}

func (p *pages) keep(fresh *page) {
	if old := p.kept[fresh.key]; old != nil {
		p.drop(old)
	}
	p.kept[fresh.key] = fresh
	p.bytes += fresh.size()
	for _, id := range fresh.products {
		if p.holders[id] == nil {
			p.holders[id] = map[*page]struct{}{}
		}
		p.holders[id][fresh] = struct{}{}
	}
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
	p.bytes -= old.size()
	for _, id := range old.products {
		delete(p.holders[id], old)
		if len(p.holders[id]) == 0 {
			delete(p.holders, id)
		}
	}
}

// flush notes a change that may concern every page.
func (p *pages) flush() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.changes++
	p.flushed = p.changes
	p.kept, p.holders, p.bytes = map[string]*page{}, map[int64]map[*page]struct{}{}, 0
	clear(p.moved)
}

// move notes that the stock of products changed.
func (p *pages) move(products []int64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.changes++
	for _, id := range products {
		for old := range p.holders[id] {
			p.drop(old)
		}
		if len(p.flights) > 0 {
			p.moved[id] = p.changes
		}
	}
	if len(p.moved) > mostMoves {
		p.flushed = p.changes // in doubt every query under way has missed one
		clear(p.moved)
	}
}
