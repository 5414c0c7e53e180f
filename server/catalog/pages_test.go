package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

func bodyOf(text string, products ...int64) *page {
	made := &page{value: text, encoded: httpapi.Representation{Body: []byte(text)}}
	for _, id := range products {
		made.shown = append(made.shown, &listedProduct{ID: id})
	}
	return made
}

// stockOf is a page that shows the stock of product 1 after so many moves.
func stockOf(stock, moves int64) *page {
	shown := &listedProduct{ID: 1, Stock: stock, moves: moves}
	made, err := newPage(&shown.Stock, shown)
	if err != nil {
		panic(err)
	}
	return made
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
		sum += kept.size
	}
	if p.bytes != sum || sum > pageBytes || sum < pageBytes/2 {
		t.Errorf("%d bytes are kept, said to be %d, want at most %d", sum, p.bytes, pageBytes)
	}
	for id := range int64(mostMoves + 1) {
		p.move([]level{{id, 1, 1}})
	}
	if len(p.levels) > mostMoves || len(p.kept) != 0 || p.bytes != 0 {
		t.Errorf("%d levels are kept, and %d pages, of %d bytes, that need them", len(p.levels), len(p.kept), p.bytes)
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

// Whoever asks after a flush must not get the outcome of a query that began before it.
func TestAQueryOvertakenByAFlushServesOnlyThoseBefore(t *testing.T) {
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
	p.flush()
	asked := make(chan struct{})
	go func() {
		close(asked)
		ask(func() (*page, error) { return bodyOf("new", 1), nil })
	}()
	<-asked
	close(finish)
	got := map[string]int{<-answered: 1}
	got[<-answered]++
	if got["new"] != 1 || got["old"] != 1 {
		t.Errorf("got %v, want one old and one new", got)
	}
	if found, err := p.get(t.Context(), []byte("k"), func() (*page, error) { return bodyOf("later", 1), nil }); err != nil || string(found.Body) != "new" {
		t.Errorf("kept is %s, %v; want new", found.Body, err)
	}
}

// Levels of stock may be heard of in any order, before and after the query that a page is made of.
func TestAPageShowsTheLatestLevelOfStock(t *testing.T) {
	for name, heard := range map[string]struct{ during, after []level }{
		"in order":          {nil, []level{{1, 8, 2}, {1, 7, 3}}},
		"the later first":   {nil, []level{{1, 7, 3}, {1, 8, 2}}},
		"while it is read":  {[]level{{1, 7, 3}}, nil},
		"the later earlier": {[]level{{1, 7, 3}}, []level{{1, 8, 2}}},
		"the earlier twice": {[]level{{1, 8, 2}, {2, 5, 9}, {1, 9, 1}}, []level{{1, 8, 2}, {1, 7, 3}, {2, 5, 9}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPages()
			queries := 0
			look := func() string {
				found, err := p.get(t.Context(), []byte("k"), func() (*page, error) {
					queries++
					p.move(heard.during)
					return stockOf(9, 1), nil
				})
				if err != nil {
					t.Fatal(err)
				}
				return string(found.Body)
			}
			first := look()
			if len(heard.during) == 0 && first != "9" {
				t.Errorf("at first it shows %s", first)
			}
			p.move(heard.after)
			if got := look(); got != "7" || queries != 1 {
				t.Errorf("it shows %s after %d queries, want 7 after one", got, queries)
			}
		})
	}
}

// A database that was set back to an earlier state has stocks of fewer moves than are remembered.
func TestLevelsOfStockAreForgotten(t *testing.T) {
	p := newPages()
	look := func() string {
		p.flush()
		found, err := p.get(t.Context(), []byte("k"), func() (*page, error) { return stockOf(9, 1), nil })
		if err != nil {
			t.Fatal(err)
		}
		return string(found.Body)
	}
	p.move([]level{{1, 7, 3}})
	for _, step := range []struct {
		passes time.Duration
		want   string
	}{{movesLife / 2, "7"}, {movesLife / 2, "7"}, {movesLife, "9"}} {
		p.turned = p.turned.Add(-step.passes)
		if got := look(); got != step.want {
			t.Errorf("%s later it shows %s, want %s", step.passes, got, step.want)
		}
	}
	p.move([]level{{1, 7, 3}})
	p.turned = p.turned.Add(-3 * movesLife)
	if got := look(); got != "9" {
		t.Errorf("after a long time it shows %s", got)
	}
}

// When there are too many levels to remember, those who asked after a move do not get the outcome of a query
// from before it.
func TestForgettingLevelsEndsTheQueriesUnderWay(t *testing.T) {
	p := newPages()
	begun, finish, answered := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	go func() {
		_, _ = p.get(context.Background(), []byte("k"), func() (*page, error) {
			close(begun)
			<-finish
			return stockOf(9, 1), nil
		})
	}()
	<-begun
	p.move([]level{{1, 8, 2}})
	go func() {
		found, _ := p.get(context.Background(), []byte("k"), func() (*page, error) { return stockOf(8, 2), nil })
		answered <- string(found.Body)
	}()
	for id := range int64(mostMoves) {
		p.move([]level{{id + 2, 1, 1}})
	}
	close(finish)
	if got := <-answered; got != "8" {
		t.Errorf("it shows %s, want 8", got)
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
