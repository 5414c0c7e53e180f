package shop

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// failure is what went wrong with one child.
type failure struct {
	key key
	err error
}

// failures are what went wrong in one turn.
type failures []failure

// applier writes the children of one turn.
func (r *Reconciler) applier() *apply.Applier {
	return &apply.Applier{Client: r.Client, Live: r.Live, Label: builders.LabelManagedBy, Value: builders.ManagedBy, Seen: &r.seen}
}

// apply does what the plan says, and leaves in observed what then is. A child
// that fails does not keep the others from theirs. Of a shop that is paused
// everything is left as it is.
func (r *Reconciler) apply(ctx context.Context, applier *apply.Applier, shop *shopv1.Shop, plan *plan, observed *observation) failures {
	if shop.Spec.Paused {
		return nil
	}
	var failed failures
	for _, replicas := range plan.handOver {
		version, err := applier.Share(ctx, replicas, replicasOwner)
		if err != nil {
			return failures{{keyOf(replicas), err}} // or the Deployment would go down to one pod
		}
		observed.children[keyOf(replicas)].SetResourceVersion(version)
	}
	for _, wanted := range plan.wanted {
		key := keyOf(wanted)
		object, err := applier.Object(ctx, wanted, observed.children[key])
		r.Metrics.applied(key.kind, observed.children[key], object, err)
		if err == nil {
			observed.children[key] = object
			r.secrets.learn(object)
			continue
		}
		if key.kind == "Secret" {
			r.secrets.unlearn(client.ObjectKey{Namespace: shop.Namespace, Name: key.name})
		}
		failed = append(failed, failure{key, err})
		if key.kind == "Secret" {
			return failed // the rest would be told of credentials that are not there
		}
	}
	if plan.migration.start != nil {
		if err := r.startMigration(ctx, shop, applier, plan.migration.start); err != nil {
			failed = append(failed, failure{keyOf(plan.migration.start), err})
		}
	}
	return append(failed, r.deleteUnwanted(ctx, shop, plan, observed, applier, len(failed) > 0)...)
}

// deleteUnwanted deletes what the plan says, if the spec is still the one that
// it is the plan of. Data stays when something else has failed.
func (r *Reconciler) deleteUnwanted(ctx context.Context, shop *shopv1.Shop, plan *plan, observed *observation, applier *apply.Applier, hasFailed bool) failures {
	unwanted := plan.unwanted
	if len(unwanted) == 0 {
		return nil
	}
	if isCurrent, err := r.isCurrent(ctx, shop); err != nil || !isCurrent {
		return failuresOf(unwanted[0], err)
	}
	var failed failures
	if slices.ContainsFunc(unwanted, observed.isData) {
		isNeeded, err := r.isDataNeeded(ctx, shop, observed)
		if err != nil {
			failed = append(failed, failure{key{"Deployment", builders.APIName(shop)}, err})
		}
		if isNeeded || hasFailed {
			unwanted = slices.DeleteFunc(slices.Clone(unwanted), observed.isData)
		}
	}
	for _, unwanted := range unwanted {
		err := applier.Delete(ctx, observed.children[unwanted])
		r.Metrics.deleted(unwanted.kind, err)
		if err != nil {
			failed = append(failed, failure{unwanted, fmt.Errorf("delete %s %s: %w", unwanted.kind, unwanted.name, err)})
		}
	}
	return failed
}

// isData reports whether a child is part of a managed PostgreSQL or Redis.
func (o *observation) isData(key key) bool {
	component := builders.Component(o.children[key].GetLabels()[builders.LabelComponent])
	return component == builders.ComponentDatabase || component == builders.ComponentRedis
}

// isDataNeeded reports whether a pod that serves, or is on its way out, may still
// be of an older template, and use a database that the spec has no more. The API
// server is asked, for the cache may be behind; what it knows and the cache does
// not brings another turn.
func (r *Reconciler) isDataNeeded(ctx context.Context, shop *shopv1.Shop, observed *observation) (bool, error) {
	isLeaving := func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil }
	if slices.ContainsFunc(observed.pods, isLeaving) {
		return true, nil
	}
	for _, name := range []string{builders.APIName(shop), builders.NotificationsName(shop)} {
		known, current := find[*appsv1.Deployment](observed.children, "Deployment", name), &appsv1.Deployment{}
		if !isRolledOut(known) {
			return true, nil
		}
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(known), current); err != nil {
			return true, fmt.Errorf("see whether the pods of %s are new: %w", name, err)
		}
		if current.UID != known.UID || current.Generation != known.Generation || !isRolledOut(current) {
			return true, nil
		}
	}
	return false, nil
}

// isCurrent reports whether the API server knows no newer spec of the Shop, nor
// of its end. The cache may be behind, and what is started or deleted for a spec
// that nobody wants any more is not made good by another turn.
func (r *Reconciler) isCurrent(ctx context.Context, shop *shopv1.Shop) (bool, error) {
	current := &shopv1.Shop{}
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(shop), current)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("see whether the spec is still this one: %w", err)
	}
	return current.UID == shop.UID && current.Generation == shop.Generation && current.DeletionTimestamp == nil, nil
}

// startMigration makes the Job, unless the API server knows of a migration at
// work or of another spec: the cache may be behind, and two at once must never
// be. Whatever it is, its coming into the cache brings another turn.
func (r *Reconciler) startMigration(ctx context.Context, shop *shopv1.Shop, applier *apply.Applier, job apply.Configuration) error {
	if isCurrent, err := r.isCurrent(ctx, shop); err != nil || !isCurrent {
		return err
	}
	jobs, pods := &batchv1.JobList{}, &corev1.PodList{}
	for _, list := range []client.ObjectList{jobs, pods} {
		if err := r.Live.List(ctx, list, migrationsOf(shop)...); err != nil {
			return fmt.Errorf("look for migrations at work: %w", err)
		}
	}
	atWork := slices.ContainsFunc(jobs.Items, func(job batchv1.Job) bool { return !isFinished(&job) }) ||
		slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
			return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
		})
	if atWork {
		return nil
	}
	started, err := applier.Object(ctx, job, nil)
	r.Metrics.applied("Job", nil, started, err)
	return err
}

// failuresOf is that of one child, or none.
func failuresOf(key key, err error) failures {
	if err == nil {
		return nil
	}
	return failures{{key, err}}
}

// err is all failures in one.
func (f failures) err() error {
	var all []error
	for _, failure := range f {
		all = append(all, failure.err)
	}
	return errors.Join(all...)
}

// conflicts reports whether there are failures and each is that the cache is
// behind. It is nothing to make a noise about.
func (f failures) conflicts() bool {
	return len(f) > 0 && !slices.ContainsFunc(f, func(failure failure) bool { return !apierrors.IsConflict(failure.err) })
}

// fleeting reports whether there are failures and each goes away by itself: a
// conflict, a timeout. Nobody needs to hear of them.
func (f failures) fleeting() bool {
	return len(f) > 0 && !slices.ContainsFunc(f, func(failure failure) bool { return isRefusal(failure.err) })
}

// inLeavingNamespace reports whether the namespace is being deleted, and the
// Shop next.
func (f failures) inLeavingNamespace() bool {
	return slices.ContainsFunc(f, func(failure failure) bool {
		return apierrors.HasStatusCause(failure.err, corev1.NamespaceTerminatingCause)
	})
}

// isRefusal reports whether someone has to change something before a write can
// succeed: the spec, a quota, a policy, an admission webhook, another object.
func isRefusal(err error) bool {
	_, isTaken := errors.AsType[*apply.TakenError](err)
	return isTaken ||
		apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsNotFound(err) || apierrors.IsInternalError(err) || apierrors.IsRequestEntityTooLargeError(err)
}
