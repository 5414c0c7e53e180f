package shop

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// historyLength is how many versions a status tells of.
const historyLength = 10

// rollBack puts the last release that served in the place of one whose rollout
// makes no progress, if the spec says so. That it did is noted on the API's
// Deployment, so that the same release is not tried again with the next turn.
func (p *plan) rollBack(shop *shopv1.Shop, all children, wanted builders.Release) {
	good := lastGood(shop, wanted)
	if shop.Spec.Rollback != shopv1.RollbackAuto || p.release != wanted || good == (builders.Release{}) {
		return
	}
	api := find[*appsv1.Deployment](all, "Deployment", builders.APIName(shop))
	notifications := find[*appsv1.Deployment](all, "Deployment", builders.NotificationsName(shop))
	wasRolledBack := api != nil && api.Annotations[builders.AnnotationRolledBack] == wanted.Image
	if wasRolledBack || isStuckAt(api, wanted) || isStuckAt(notifications, wanted) {
		p.release, p.failed = good, wanted
	}
}

// lastGood is the newest release that served, but for the wanted one.
func lastGood(shop *shopv1.Shop, wanted builders.Release) builders.Release {
	for _, served := range shop.Status.History {
		if release := (builders.Release{Version: served.Version, Image: served.Image}); release != wanted {
			return release
		}
	}
	return builders.Release{}
}

// isStuckAt reports whether the rollout of a release made no progress within its
// deadline.
func isStuckAt(deployment *appsv1.Deployment, release builders.Release) bool {
	return deployment != nil && isObserved(deployment) && builders.ReleaseOf(deployment) == release &&
		deploymentCondition(deployment, appsv1.DeploymentProgressing).Status == corev1.ConditionFalse
}

// history has a release that serves as its newest entry.
func history(served []shopv1.ServedRelease, release builders.Release) []shopv1.ServedRelease {
	if len(served) > 0 && served[0].Version == release.Version && served[0].Image == release.Image {
		return served
	}
	newest := shopv1.ServedRelease{Version: release.Version, Image: release.Image, Since: metav1.Now()}
	served = slices.Insert(slices.Clone(served), 0, newest)
	return served[:min(len(served), historyLength)]
}
