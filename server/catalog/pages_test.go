package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

func bodyOf(text string, products ...int64) *page {
	return &page{Representation: httpapi.Representation{Body: []byte(text)}, products: products}
}

func TestPagesAreBounded(t *testing.T) {
	p := newPages()
	body := strings.Repeat("x", 10_000)
	for n := range 5000 {
		_, err := p.get(t.Context(), fmt.Append(nil, n), func() (*page, error) { return bodyOf(body, int64(n%7), 7), nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	sum := 0
	for _, kept := range p.kept {
		sum += kept.size()
	}
	if p.bytes != sum || sum > pageBytes || sum < pageBytes/2 {
		t.Errorf("%d bytes are kept, said to be %d, want at most %d", sum, p.bytes, pageBytes)
	}
	p.move([]int64{7})
	if len(p.kept) != 0 || len(p.holders) != 0 || p.bytes != 0 {
		t.Errorf("after a move of a product on every page there are %d pages, %d holders, %d bytes", len(p.kept), len(p.holders), p.bytes)
	}
}

func TestOneQueryServesAllWhoAskAtOnce(t *testing.T) {
	p := newPages()
	var queries atomic.Int32
	begun, finish := make(chan struct{}), make(chan struct{})
	load := func() (*page, error) { //nolint:unparam // what get wants
		if queries.Add(1) == 1 {
			close(begun)
		}
		<-finish
		return bodyOf("x", 1), nil
	}
	var everybody sync.WaitGroup
	for range 20 {
		everybody.Go(func() {
			if found, err := p.get(t.Context(), []byte("k"), load); err != nil || string(found.Body) != "x" {
				t.Errorf("got %v, %v", found, err)
			}
		})
	}
	<-begun
	close(finish)
	everybody.Wait()
	if queries.Load() != 1 {
		t.Errorf("%d queries", queries.Load())
	}
}

// Whoever asks after a change must not get the outcome of a query that began before it.
func TestAQueryOvertakenByAChangeServesOnlyThoseBefore(t *testing.T) {
	for name, change := range map[string]struct {
		note func(p *pages)
		want string
	}{
		"flush":         {func(p *pages) { p.flush() }, "new"},
		"move":          {func(p *pages) { p.move([]int64{2, 1}) }, "new"},
		"move of other": {func(p *pages) { p.move([]int64{3}) }, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPages()
			begun, finish, answered := make(chan struct{}), make(chan struct{}), make(chan string, 2)
			ask := func(load func() (*page, error)) {
				found, err := p.get(t.Context(), []byte("k"), load)
				if err != nil {
					t.Error(err)
				}
				answered <- string(found.Body)
			}
			go ask(func() (*page, error) {
				close(begun)
				<-finish
				return bodyOf("old", 1), nil
			})
			<-begun
			change.note(p)
			asked := make(chan struct{})
			go func() {
				close(asked)
				ask(func() (*page, error) { return bodyOf("new", 1), nil })
			}()
			<-asked
			close(finish)
			got := map[string]int{<-answered: 1}
			got[<-answered]++
			if got[change.want] == 0 || got["old"] == 0 {
				t.Errorf("got %v, want one old and one %s", got, change.want)
			}
			if found, err := p.get(t.Context(), []byte("k"), func() (*page, error) { return bodyOf("later", 1), nil }); err != nil || string(found.Body) != change.want {
				t.Errorf("kept is %s, %v; want %s", found.Body, err, change.want)
			}
		})
	}
}

func TestAFailedQueryIsNotKept(t *testing.T) {
	p := newPages()
	fault := errors.New("fault")
	if _, err := p.get(t.Context(), []byte("k"), func() (*page, error) { return nil, fault }); !errors.Is(err, fault) {
		t.Error(err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = p.get(t.Context(), []byte("k"), func() (*page, error) { panic("fault") })
	}()
	found, err := p.get(t.Context(), []byte("k"), func() (*page, error) { return bodyOf("x"), nil })
	if err != nil || string(found.Body) != "x" || len(p.flights) != 0 {
		t.Errorf("got %v, %v, %d under way", found, err, len(p.flights))
	}
}

func TestWaitingForAPageEndsWithItsRequest(t *testing.T) {
	p := newPages()
	begun, finish := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		_, _ = p.get(context.Background(), []byte("k"), func() (*page, error) {
			close(begun)
			<-finish
			return bodyOf("x"), nil
		})
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.get(ctx, []byte("k"), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(finish)
	first.Wait()
}
