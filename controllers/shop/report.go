package shop

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// assess is the status that follows from the verdicts. It is pure.
func assess(shop *shopv1.Shop, observed *observation, plan *plan, verdicts []verdict) *shopv1.ShopStatus {
	status := shop.Status.DeepCopy()
	status.ObservedGeneration = shop.Generation
	status.Endpoints = builders.Endpoints(shop)
	status.Selector = builders.Selector(shop, builders.ComponentAPI)
	status.SchemaVersion = schemaVersion(plan.migration, observed.migrationPods, shop.Status.SchemaVersion)

	api := find[*appsv1.Deployment](observed.children, "Deployment", builders.APIName(shop))
	notifications := find[*appsv1.Deployment](observed.children, "Deployment", builders.NotificationsName(shop))
	status.Pods = shopv1.PodCounts{
		API:           podCount(api, shop.Spec.API.Replicas),
		Notifications: podCount(notifications, shop.Spec.Notifications.Replicas),
	}
	status.Connections = openSockets(observed, builders.NotificationsName(shop), shop.Status.Connections)
	status.Replicas = 0
	if api != nil {
		status.Replicas = api.Status.Replicas
	}
	if isRolledOut(api) && isRolledOut(notifications) && !shop.Spec.Hibernated {
		status.Version = plan.release.Version
		status.History = history(status.History, plan.release)
	}
	setConditions(shop, status, verdicts)
	return status
}

// setConditions turns verdicts into conditions. Reconciling and Stalled are
// there only while they hold.
func setConditions(shop *shopv1.Shop, status *shopv1.ShopStatus, verdicts []verdict) {
	set := func(kind string, value metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: value, Reason: reason, Message: message, ObservedGeneration: shop.Generation,
		})
	}
	for _, verdict := range verdicts {
		value := metav1.ConditionFalse
		if verdict.state == ready {
			value = metav1.ConditionTrue
		}
		set(verdict.condition, value, verdict.reason, verdict.message)
	}
	if shop.Spec.Ingress == nil {
		meta.RemoveStatusCondition(&status.Conditions, shopv1.ConditionIngressReady)
	}

	if !wantsMonitoring(shop) {
		meta.RemoveStatusCondition(&status.Conditions, shopv1.ConditionMonitoringReady)
	}

	obstacle := obstacleAmong(verdicts)
	if shop.Spec.Paused && obstacle.state == progressing {
		obstacle.state = stalled // nothing comes by itself
	}
	if obstacle.state == progressing {
		set(shopv1.ConditionReconciling, metav1.ConditionTrue, shopv1.ReasonProgressing, obstacle.message)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, shopv1.ConditionReconciling)
	}
	if shop.Spec.Paused && obstacle.state == stalled {
		obstacle.reason, obstacle.message = shopv1.ReasonPaused, "spec.paused keeps the operator from seeing to this: "+obstacle.message
	}
	if obstacle.state == stalled {
		set(shopv1.ConditionStalled, metav1.ConditionTrue, obstacle.reason, obstacle.message)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, shopv1.ConditionStalled)
	}
	if obstacle.state == ready {
		reason, message := readiness(shop, status)
		set(shopv1.ConditionReady, metav1.ConditionTrue, reason, message)
	} else {
		set(shopv1.ConditionReady, metav1.ConditionFalse, obstacle.reason, obstacle.message)
	}
}

// readiness says in what way a shop is all that its spec asks for.
func readiness(shop *shopv1.Shop, status *shopv1.ShopStatus) (reason, message string) {
	switch serves := fmt.Sprintf("Version %s serves at %s", status.Version, status.Endpoints.API); {
	case shop.Spec.Hibernated:
		return shopv1.ReasonHibernated, "No pod runs. Data, Secrets and addresses are kept; set spec.hibernated to false to wake the shop."
	case shop.Spec.Paused:
		return shopv1.ReasonPaused, serves + ". What changes now is left as it is, until spec.paused is false."
	default:
		return shopv1.ReasonAvailable, serves
	}
}

// obstacleAmong is what a shop waits for: the first part that needs someone's
// help, else the first that is not ready, else none, which is a ready one. It
// never waits for its monitoring: a shop that serves is Ready unwatched too.
func obstacleAmong(verdicts []verdict) verdict {
	for _, state := range []state{stalled, progressing} {
		for _, verdict := range verdicts {
			if verdict.state == state && verdict.condition != shopv1.ConditionMonitoringReady {
				return verdict
			}
		}
	}
	return verdict{state: ready}
}

// podCount is available/desired.
func podCount(deployment *appsv1.Deployment, replicas *int32) string {
	if deployment == nil {
		return fmt.Sprintf("0/%d", ptr.Deref(replicas, 1))
	}
	return fmt.Sprintf("%d/%d", deployment.Status.AvailableReplicas, desired(deployment))
}

// report writes the status, if it is another than before, and tells of each
// condition whose reason changed.
func (r *Reconciler) report(ctx context.Context, shop *shopv1.Shop, status *shopv1.ShopStatus) error {
	if equality.Semantic.DeepEqual(&shop.Status, status) {
		return nil
	}
	before := shop.DeepCopy()
	shop.Status = *status
	// Locked, so that a status of an older spec never replaces one of a newer.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err := r.Client.Status().Patch(ctx, shop, patch, client.FieldOwner(apply.FieldOwner))
	if err != nil {
		return client.IgnoreNotFound(err) // deleted meanwhile
	}
	r.tell(shop, before.Status.Conditions, status.Conditions)
	return nil
}

// tell makes Events of the changes of reasons. Conditions that come to the same
// reason at once share one, unless it is a Warning, whose message says what to do.
// Reconciling and Stalled repeat what others say.
func (r *Reconciler) tell(shop *shopv1.Shop, before, after []metav1.Condition) {
	var news []metav1.Condition
	for _, condition := range after {
		previous := meta.FindStatusCondition(before, condition.Type)
		isNews := previous == nil || previous.Reason != condition.Reason
		if !isNews || condition.Type == shopv1.ConditionReconciling || condition.Type == shopv1.ConditionStalled {
			continue
		}
		r.Metrics.became(condition)
		if condition.Status == metav1.ConditionTrue || !isSaidByOthers(previous, condition, after) {
			news = append(news, condition)
		}
	}
	for len(news) > 0 {
		first := news[0]
		isWith := func(other metav1.Condition) bool {
			return other.Type == first.Type || other.Reason == first.Reason && severity(first) == corev1.EventTypeNormal
		}
		r.makeEvent(shop, selected(news, isWith))
		news = slices.DeleteFunc(news, isWith)
	}
}

// isSaidByOthers reports whether a condition that is false is no news: Ready
// repeats the reason of a part, and a part that is new is waited for like all.
func isSaidByOthers(previous *metav1.Condition, condition metav1.Condition, all []metav1.Condition) bool {
	if condition.Type == shopv1.ConditionReady {
		return isReasonOfPart(all, condition.Reason)
	}
	return previous == nil && severity(condition) == corev1.EventTypeNormal
}

// makeEvent makes one of conditions that have the same reason.
func (r *Reconciler) makeEvent(shop *shopv1.Shop, conditions []metav1.Condition) {
	var kinds, messages []string
	for _, condition := range conditions {
		kinds = append(kinds, condition.Type)
		if !slices.Contains(messages, condition.Message) {
			messages = append(messages, condition.Message)
		}
	}
	about := strings.Join(kinds, ", ")
	// The action keeps apart what would else be counted as one Event.
	r.Events.Eventf(shop, nil, severity(conditions[0]), conditions[0].Reason, about, "%s: %s", about, shortened(strings.Join(messages, " ")))
}

// isReasonOfPart reports whether some part of the shop gives this reason.
func isReasonOfPart(conditions []metav1.Condition, reason string) bool {
	return slices.ContainsFunc(conditions, func(condition metav1.Condition) bool {
		switch condition.Type {
		case shopv1.ConditionReady, shopv1.ConditionReconciling, shopv1.ConditionStalled:
			return false
		default:
			return condition.Reason == reason
		}
	})
}

// severity is Warning for what does not come right by itself, or was right
// before.
func severity(condition metav1.Condition) string {
	switch condition.Reason {
	case shopv1.ReasonImagePullFailed, shopv1.ReasonCrashing, shopv1.ReasonOutOfMemory, shopv1.ReasonUnschedulable, shopv1.ReasonPodsRefused,
		shopv1.ReasonVolumePending, shopv1.ReasonVolumeFull, shopv1.ReasonRolledBack, shopv1.ReasonDatabaseRefuses, shopv1.ReasonRedisRefuses, shopv1.ReasonUnreachable,
		shopv1.ReasonDegraded, shopv1.ReasonRolloutStuck, shopv1.ReasonVolumeNotGrown, shopv1.ReasonMajorVersionRefused, shopv1.ReasonRefused, shopv1.ReasonNameTaken, shopv1.ReasonSecretMissing, shopv1.ReasonSecretMalformed,
		shopv1.ReasonMigrationBlocked, shopv1.ReasonMigrationFailed, shopv1.ReasonRouteNotAccepted, shopv1.ReasonGatewayAPIMissing,
		shopv1.ReasonCertManagerMissing, shopv1.ReasonPodMonitorMissing, shopv1.ReasonNotScaling:
		return corev1.EventTypeWarning
	default:
		return corev1.EventTypeNormal
	}
}

// shortened keeps a message within the 1024 bytes of an Event's note.
func shortened(message string) string {
	const limit = 900
	if len(message) <= limit {
		return message
	}
	cut := limit
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + "…"
}
