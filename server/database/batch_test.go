package database_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
)

// Questions that come while a query is under way share the next one, which begins after they came.
func TestQuestionsThatComeAtOnceShareAQuery(t *testing.T) {
	t.Parallel()
	const questions = 1000
	begun, goOn := make(chan []int, questions), make(chan struct{})
	squares := database.NewBatch(func(_ context.Context, keys []int) (map[int]int, error) {
		begun <- keys
		<-goOn
		answers := map[int]int{}
		for _, key := range keys {
			if key != 7 {
				answers[key] = key * key
			}
		}
		return answers, nil
	})
	var asking sync.WaitGroup
	ask := func(key, want int) {
		asking.Go(func() {
			if got, err := squares.Ask(t.Context(), key); err != nil || got != want {
				t.Errorf("%d: %d, %v", key, got, err)
			}
		})
	}
	ask(3, 9)
	if first := <-begun; !slices.Equal(first, []int{3}) {
		t.Errorf("a question that came alone was asked with %d", first)
	}
	for key := range questions {
		ask(key, key*key*min(1, max(key-7, 7-key))) // 7 has no answer
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := squares.Ask(impatient, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits no longer is told %v", err)
	}
	close(goOn)
	asking.Wait()
	close(begun)
	asked := 0
	for keys := range begun {
		asked += len(keys)
		if len(keys) > 512 {
			t.Errorf("one query has %d keys", len(keys))
		}
	}
	if asked < questions || asked > questions+1 {
		t.Errorf("%d questions asked, want %d", asked, questions)
	}
}

func TestFailureOfABatchIsToldToAllAndForgotten(t *testing.T) {
	t.Parallel()
	failure := errors.New("away")
	fails := true
	batch := database.NewBatch(func(context.Context, []int) (map[int]int, error) {
		if fails {
			return nil, failure
		}
		return map[int]int{1: 1}, nil
	})
	if _, err := batch.Ask(t.Context(), 1); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	fails = false
	if got, err := batch.Ask(t.Context(), 1); err != nil || got != 1 {
		t.Errorf("got %d, %v", got, err)
	}
}
