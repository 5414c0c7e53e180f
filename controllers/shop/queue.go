package shop

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// together is how long news of a shop are gathered. What Kubernetes' controllers do after a change comes in
// bursts, and one turn sees to all of it.
const together = 100 * time.Millisecond

// gathering is a queue of turns that begins none before the news of a moment are
// gathered. A turn that is repeated keeps to its own time.
type gathering struct {
	priorityqueue.PriorityQueue[reconcile.Request]
}

func newGathering(controller string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	return gathering{priorityqueue.New(controller, func(options *priorityqueue.Opts[reconcile.Request]) { options.RateLimiter = limiter })}
}

// Add takes news of a shop.
func (q gathering) Add(shop reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, shop) }

// AddWithOpts takes news of shops, or turns to be repeated.
func (q gathering) AddWithOpts(options priorityqueue.AddOpts, shops ...reconcile.Request) {
	if options.After == 0 && !options.RateLimited {
		options.After = together
	}
	q.PriorityQueue.AddWithOpts(options, shops...)
}
