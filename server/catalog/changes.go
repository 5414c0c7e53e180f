package catalog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shopkeeper-dev/shopkeeper/server/pubsub"
)

const (
	changesChannel = "catalog"
	gatherFor      = 3 * time.Millisecond // so that many orders are one message
	sweepEvery     = time.Hour
	sweepTimeout   = 10 * time.Second
)

// Moves is the stock that one transaction moved. The transaction's author announces it after the commit.
type Moves struct {
	levels  []level
	crossed bool // a product sold out, or came back into stock: other lists than those that show it change
}

// level is a product's stock after one of its moves. Of two levels, in whatever order they are heard of, the
// one after more moves is the later.
type level struct {
	Product int64 `json:"product"`
	Stock   int64 `json:"stock"`
	Moves   int64 `json:"moves"` // that the product has made, ever
}

// Take notes that units of a product were taken, what is left of it, and how often its stock has moved by now.
func (m *Moves) Take(product, left, moves int64) {
	m.note(level{Product: product, Stock: left, Moves: moves}, left == 0)
}

// note adds a product's level; crossed tells whether the move was to or from none at all.
func (m *Moves) note(now level, crossed bool) {
	m.levels = append(m.levels, now)
	m.crossed = m.crossed || crossed
}

// Announce makes what a committed transaction moved known, here at once and to other pods in a moment.
func (s *Catalog) Announce(moves Moves) {
	switch {
	case moves.crossed:
		s.announceAll()
	case len(moves.levels) > 0:
		s.pages.move(moves.levels)
		s.news.add(moves.levels)
	}
}

// announceAll makes any other change of the catalogue known.
func (s *Catalog) announceAll() {
	s.heardOfAll()
	s.news.addAll()
}

func (s *Catalog) heardOfAll() {
	s.counts.behind.Store(true)
	s.pages.flush()
}

func keepLatest(levels map[int64]level, now level) {
	if now.Moves > levels[now.Product].Moves {
		levels[now.Product] = now
	}
}

// message is what pods tell one another.
type message struct {
	From   string  `json:"from"`
	All    bool    `json:"all,omitempty"`
	Levels []level `json:"levels,omitempty"` // of the stocks that moved
}

// news is what this pod has to tell the others.
type news struct {
	mutex   sync.Mutex
	all     bool
	levels  map[int64]level
	waiting chan struct{}
}

func newNews() *news {
	return &news{levels: map[int64]level{}, waiting: make(chan struct{}, 1)}
}

func (n *news) add(levels []level) {
	n.mutex.Lock()
	for _, now := range levels {
		keepLatest(n.levels, now)
	}
	n.all = n.all || len(n.levels) > mostMoves
	n.mutex.Unlock()
	n.wake()
}

func (n *news) addAll() {
	n.mutex.Lock()
	n.all = true
	n.mutex.Unlock()
	n.wake()
}

func (n *news) wake() {
	select {
	case n.waiting <- struct{}{}:
	default:
	}
}

// take empties the news into a message.
func (n *news) take(from string) message {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	told := message{From: from, All: n.all}
	if !n.all {
		told.Levels = slices.Collect(maps.Values(n.levels))
	}
	n.all = false
	clear(n.levels)
	return told
}

// Run tells other pods of changes, hears of theirs, and forgets old ones, until ctx ends. A change that is
// told to nobody, because Redis is away, is seen everywhere all the same when pages and counts come of age.
func (s *Catalog) Run(ctx context.Context, redis *pubsub.Client, log *slog.Logger) error {
	pod := rand.Text()
	var group errgroup.Group
	group.Go(func() error { s.tell(ctx, redis, pod); return nil })
	group.Go(func() error { s.sweep(ctx, log); return nil })
	group.Go(func() error {
		return redis.Listen(ctx, []string{changesChannel}, pubsub.Listener{
			Subscribed: s.heardOfAll,
			Received:   func(payload string) { s.hear(payload, pod) },
		})
	})
	return group.Wait()
}

func (s *Catalog) hear(payload, pod string) {
	var told message
	if err := json.Unmarshal([]byte(payload), &told); err != nil {
		told = message{All: true} // of a release to come
	}
	switch {
	case told.From == pod:
	case told.All:
		s.heardOfAll()
	default:
		s.pages.move(told.Levels)
	}
}

func (s *Catalog) tell(ctx context.Context, redis *pubsub.Client, pod string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.news.waiting:
		}
		time.Sleep(gatherFor)
		payload, err := json.Marshal(s.news.take(pod))
		if err == nil {
			_ = redis.Publish(ctx, pubsub.Message{Channel: changesChannel, Payload: payload}) // see Run
		}
	}
}

// sweep forgets changes that every pod has long heard of.
func (s *Catalog) sweep(ctx context.Context, log *slog.Logger) {
	for ticker := time.NewTicker(sweepEvery); ; {
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-ticker.C:
		}
		if err := s.forgetChanges(ctx); err != nil && ctx.Err() == nil {
			log.Warn("old changes of the catalogue stay for now", "error", err)
		}
	}
}

func (s *Catalog) forgetChanges(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	err := s.db.WithContext(ctx).Exec("DELETE FROM catalog_changes WHERE version < (SELECT version FROM catalog_version) - ?", keptVersions).Error
	if err != nil {
		return fmt.Errorf("forget old changes of the catalogue: %w", err)
	}
	return nil
}
