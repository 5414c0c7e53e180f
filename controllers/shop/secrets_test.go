package shop

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// looks counts how often each Secret is read.
type looks struct {
	client.Reader

	of    map[string]int
	takes time.Duration // each
}

// Get finds every Secret as it was.
func (l *looks) Get(_ context.Context, at client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	l.of[at.Name]++
	time.Sleep(l.takes)
	return nil
}

// ofKind is how often each of so many Secrets of a kind was looked at.
func (l *looks) ofKind(kind string, count int) []int {
	var all []int
	for n := range count {
		all = append(all, l.of[fmt.Sprintf("%s-%d", kind, n)])
	}
	return all
}

// lookForAMinute looks at Secrets of others and own ones.
func lookForAMinute(t *testing.T, others, own int, takes time.Duration) *looks {
	t.Helper()
	live, known := &looks{of: map[string]int{}, takes: takes}, &secrets{}
	for n := range others {
		known.learn(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("other-%d", n)}})
	}
	for n := range own {
		known.learn(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("own-%d", n), Labels: map[string]string{builders.LabelManagedBy: builders.ManagedBy},
		}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := (&secretWatch{secrets: known, live: live, every: secretsEvery}).Start(ctx); err != nil {
		t.Fatal(err)
	}
	return live
}

// TestSecretsOfOthersDoNotWait: however many Secrets there are, those that users
// make are looked at in time, and of the operator's own none is forgotten.
func TestSecretsOfOthersDoNotWait(t *testing.T) {
	for _, row := range []struct {
		others, own            int
		looksAtOther, looksOwn int // in a minute, at least
	}{
		{0, 5, 0, 6}, {5, 0, 6, 0}, {5, 20, 6, 6}, {100, 1500, 6, 1}, {1000, 500, 2, 1},
	} {
		t.Run(fmt.Sprintf("%d and %d", row.others, row.own), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := lookForAMinute(t, row.others, row.own, 0)
				least := func(kind string, count int) int { return slices.Min(append(seen.ofKind(kind, count), 100)) }
				if got := least("other", row.others); got < row.looksAtOther {
					t.Errorf("one of others is looked at %d times, want %d", got, row.looksAtOther)
				}
				if got := least("own", row.own); got < row.looksOwn {
					t.Errorf("an own one is looked at %d times, want %d", got, row.looksOwn)
				}
			})
		})
	}
}

// TestASlowAPIServerIsAskedLess: of the operator's own Secrets few are looked at,
// and those that users make do not wait.
func TestASlowAPIServerIsAskedLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const others, own, takes = 20, 100, 100 * time.Millisecond
		seen := lookForAMinute(t, others, own, takes)
		if got := slices.Min(seen.ofKind("other", others)); got < 6 {
			t.Errorf("one of others is looked at %d times, want 6", got)
		}
		looks := 0
		for _, got := range seen.ofKind("own", own) {
			looks += got
		}
		if most := int(time.Minute / takes / secretsShare); looks == 0 || looks > most {
			t.Errorf("own ones are looked at %d times, want some, and at most %d", looks, most)
		}
	})
}
