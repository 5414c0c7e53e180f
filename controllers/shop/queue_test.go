package shop

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// TestOwnStatusIsNoWish: what the operator writes brings it no turn.
func TestOwnStatusIsNoWish(t *testing.T) {
	before := &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{UID: "u-1", Generation: 1, ResourceVersion: "1"}}
	for name, test := range map[string]struct {
		change func(*shopv1.Shop)
		want   bool
	}{
		"condition": {func(shop *shopv1.Shop) { shop.Status.Conditions = []metav1.Condition{{Type: "Ready"}} }, false},
		"spec":      {func(shop *shopv1.Shop) { shop.Generation++ }, true},
		"made anew": {func(shop *shopv1.Shop) { shop.UID = "u-2" }, true},
	} {
		after := before.DeepCopy()
		after.ResourceVersion = "2"
		test.change(after)
		if got := isWish.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestNewsAreGathered: what comes within a moment is one turn, at its end.
func TestNewsAreGathered(t *testing.T) {
	queue := newGathering("gathering", workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	acme := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "shops", Name: "acme"}}
	started := time.Now()
	for range 3 {
		queue.Add(acme)
	}
	if got, _ := queue.Get(); got != acme || time.Since(started) < together {
		t.Errorf("%v comes after %s", got, time.Since(started))
	}
	queue.Done(acme)
	time.Sleep(2 * together)
	if queue.Len() != 0 {
		t.Errorf("%d turns are left", queue.Len())
	}
}

// TestPatienceEnds: a turn that changed children tells nothing, but one that has
// changed them again and again does.
func TestPatienceEnds(t *testing.T) {
	patience, acme := &patience{}, client.ObjectKey{Namespace: "shops", Name: "acme"}
	for range 2 {
		for turn := range mostPatience {
			if !patience.waits(acme, true) {
				t.Fatalf("turn %d tells", turn)
			}
		}
		if patience.waits(acme, true) {
			t.Fatal("it never tells")
		}
	}
	if patience.waits(acme, false) || len(patience.turns) != 0 {
		t.Errorf("a turn that changed nothing does not tell; %v are remembered", patience.turns)
	}
}
