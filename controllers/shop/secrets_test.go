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

	of map[string]int
}

// Get finds every Secret as it was.
func (l *looks) Get(_ context.Context, at client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	l.of[at.Name]++
	return nil
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
				live, known := &looks{of: map[string]int{}}, &secrets{}
				remember := func(name string, labels map[string]string) {
					known.learn(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
					live.of[name] = 0
				}
				for n := range row.others {
					remember(fmt.Sprintf("other-%d", n), nil)
				}
				for n := range row.own {
					remember(fmt.Sprintf("own-%d", n), map[string]string{builders.LabelManagedBy: builders.ManagedBy})
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := (&secretWatch{secrets: known, live: live, every: secretsEvery}).Start(ctx); err != nil {
					t.Fatal(err)
				}
				least := func(kind string, count int) int {
					var all []int
					for n := range count {
						all = append(all, live.of[fmt.Sprintf("%s-%d", kind, n)])
					}
					return slices.Min(append(all, 100))
				}
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
