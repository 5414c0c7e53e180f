// Package shop is the loop that keeps every Shop as its spec says: observe what
// is there, plan what should be, apply the difference, report the outcome.
//
// observe reads (from the cache, but for two rare questions), plan and report
// think (and are pure), apply writes. What is remembered between two turns is
// only what the API server holds, to spare reads and comparisons, and what was not
// worth telling yet: the operator may stop anywhere and start again.
package shop

import (
	"context"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// seenWithin is how soon a condition tells of what is wrong, and is gone when it
// is mended.
const seenWithin = 10 * time.Second

// lookAgain is when a turn is repeated that waits for something no watch tells
// of, such as a CRD or an Event.
const lookAgain = seenWithin / 2

// retryAfter is when a migration that did not get at the database is tried again.
const retryAfter = time.Minute

// catchUp is when a turn is repeated at the latest that met with a newer object
// than the cache has. The object's coming into the cache brings one sooner.
const catchUp = time.Second

// Reconciler brings Shops to what their specs say.
type Reconciler struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live reads from the API server. A shop at rest never needs it.
	Live client.Reader
	// Events is told of each change of a condition's reason.
	Events events.EventRecorder
	// Metrics count what is done; nil counts nothing.
	Metrics *Metrics
	// Defaults fill in what a spec leaves open.
	Defaults builders.Defaults
	// Random is what credentials are made of.
	Random io.Reader
	// SecretsEvery is how often each Secret is looked at again; 0 is every ten
	// seconds.
	SecretsEvery time.Duration
	// Ask asks a pod of the server, at its address and port, what it says of an
	// external database or Redis; nil asks none.
	Ask func(ctx context.Context, address string) (Answer, error)
	// AskEvery is how often; 0 is often enough.
	AskEvery time.Duration

	secrets  secrets
	seen     apply.Seen
	answers  answers
	patience patience
	optional *optionalWatch
}

// Reconcile is one turn of the loop for one Shop.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	shop := &shopv1.Shop{}
	err := r.Client.Get(ctx, request.NamespacedName, shop)
	if isGone := apierrors.IsNotFound(err); isGone || err == nil && shop.DeletionTimestamp != nil {
		r.secrets.forget(request.NamespacedName)
		r.answers.forget(request.NamespacedName)
		r.patience.waits(request.NamespacedName, false)
		return ctrl.Result{}, nil // the owner references see to the rest
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get the Shop: %w", err)
	}

	observed, err := r.observe(ctx, shop)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("observe: %w", err)
	}
	plan, err := makePlan(shop, observed, r.Defaults, r.Random)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("plan: %w", err)
	}
	applier := r.applier()
	failed := r.apply(ctx, applier, shop, plan, observed)
	if failed.inLeavingNamespace() {
		return ctrl.Result{}, nil
	}
	if failed.conflicts() {
		return ctrl.Result{RequeueAfter: catchUp}, nil
	}
	if failed.fleeting() {
		return ctrl.Result{}, fmt.Errorf("apply: %w", failed.err())
	}
	if r.patience.waits(request.NamespacedName, applier.HasWritten && len(failed) == 0 && shop.Status.ObservedGeneration > 0) {
		return ctrl.Result{RequeueAfter: soonAfter}, nil
	}
	status := assess(shop, observed, plan, judge(shop, observed, plan, failed))
	switch err := r.report(ctx, shop, status); {
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: catchUp}, nil
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("report: %w", err)
	}
	return ctrl.Result{RequeueAfter: plan.lookAgain}, failed.err()
}
