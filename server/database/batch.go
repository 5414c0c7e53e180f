package database

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	batchKeys    = 512 // in one query
	batchTimeout = 5 * time.Second
)

// Batch answers questions of one kind, those that come at once with one query: while a query is under way,
// further questions gather for the next. A question that comes alone does not wait.
type Batch[K comparable, V any] struct {
	query func(ctx context.Context, keys []K) (map[K]V, error)

	mu      sync.Mutex
	next    *gathering[K, V] // nil while nobody waits for the query under way to end
	running bool
}

// gathering is questions that get their answers together.
type gathering[K comparable, V any] struct {
	keys     []K
	answered chan struct{} // closed when the rest is set
	answers  map[K]V
	err      error
}

// NewBatch makes a Batch of a query that answers for several keys. It may leave a key out, whose answer is the
// zero value then. It takes at most 5 s.
func NewBatch[K comparable, V any](query func(ctx context.Context, keys []K) (map[K]V, error)) *Batch[K, V] {
	return &Batch[K, V]{query: query}
}

// Ask returns what a query that begins later than Ask answers for a key.
func (b *Batch[K, V]) Ask(ctx context.Context, key K) (answer V, err error) {
	asked := b.join(key)
	select {
	case <-asked.answered:
		return asked.answers[key], asked.err
	case <-ctx.Done():
		return answer, fmt.Errorf("wait for the database: %w", ctx.Err())
	}
}

func (b *Batch[K, V]) join(key K) *gathering[K, V] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = &gathering[K, V]{answered: make(chan struct{})}
	}
	joined := b.next
	joined.keys = append(joined.keys, key)
	if !b.running {
		b.running = true
		go b.run() // ends with the last question, each of which has a deadline
	}
	return joined
}

// run asks as long as there are questions.
func (b *Batch[K, V]) run() {
	for {
		b.mu.Lock()
		current := b.next
		b.next, b.running = nil, current != nil
		b.mu.Unlock()
		if current == nil {
			return
		}
		current.answers, current.err = b.ask(current.keys)
		close(current.answered)
	}
}

func (b *Batch[K, V]) ask(keys []K) (map[K]V, error) {
	answers := make(map[K]V, len(keys))
	for some := range slices.Chunk(keys, batchKeys) {
		ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
		found, err := b.query(ctx, some)
		cancel()
		if err != nil {
			return nil, err
		}
		maps.Copy(answers, found)
	}
	return answers, nil
}
