package shop

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// trouble is what keeps pods from serving, and what to do about it.
type trouble struct {
	reason  string
	state   state
	message string
}

// troubleOf is what Kubernetes says is wrong with a pod, or nil. It has the same
// words for as long as the cause is the same.
func troubleOf(pod *corev1.Pod) *trouble {
	if pod.DeletionTimestamp != nil {
		return nil
	}
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if found := troubleIn(pod, container); found != nil {
			return found
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse && condition.Reason == corev1.PodReasonUnschedulable {
			return &trouble{shopv1.ReasonUnschedulable, progressing, fmt.Sprintf(
				"No node takes pod %s: %s. Add nodes, or ask for less or for other nodes in the spec.", pod.Name, strings.TrimSuffix(condition.Message, "."))}
		}
	}
	return nil
}

func troubleIn(pod *corev1.Pod, container corev1.ContainerStatus) *trouble {
	if waiting := container.State.Waiting; waiting != nil {
		switch waiting.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			return &trouble{shopv1.ReasonImagePullFailed, stalled, fmt.Sprintf(
				"The image %s of pod %s cannot be pulled. Set a version or an image that is there, or put its registry's credentials into spec.image.pullSecrets.", container.Image, pod.Name)}
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return &trouble{shopv1.ReasonCrashing, stalled, fmt.Sprintf("Pod %s does not start: %s.", pod.Name, strings.TrimSuffix(waiting.Message, "."))}
		}
	}
	ended := container.State.Terminated
	if ended == nil && !container.Ready {
		ended = container.LastTerminationState.Terminated
	}
	if ended == nil || ended.ExitCode == 0 {
		return nil
	}
	return crash(pod, ended)
}

// crash is about a container that ended badly, by its last words.
func crash(pod *corev1.Pod, ended *corev1.ContainerStateTerminated) *trouble {
	words := lastLines(ended.Message)
	switch {
	case ended.Reason == "OOMKilled":
		return &trouble{shopv1.ReasonOutOfMemory, stalled, fmt.Sprintf("Pod %s ran out of memory. Raise resources.limits.memory of that part in the spec.", pod.Name)}
	case strings.Contains(ended.Message, "space left on device"), strings.Contains(ended.Message, "disk full"):
		return &trouble{shopv1.ReasonVolumeFull, stalled, fmt.Sprintf(
			"The volume of pod %s is full. Raise storage.size of that part in the spec: the volume grows where its storage class allows it. It said: %s", pod.Name, words)}
	case words == "":
		words = fmt.Sprintf("it left no word but the exit code %d", ended.ExitCode)
	}
	return &trouble{shopv1.ReasonCrashing, progressing, fmt.Sprintf(
		"Pod %s keeps ending, and is started again each time. It said: %s To see more: kubectl -n %s logs %s --previous", pod.Name, words, pod.Namespace, pod.Name)}
}

// lastLines are the end of a log, short enough for a condition.
func lastLines(log string) string {
	const limit = 500
	log = strings.TrimSpace(log)
	if len(log) > limit {
		log = log[len(log)-limit:]
		if _, rest, cut := strings.Cut(log, "\n"); cut {
			log = rest
		}
	}
	return strings.ToValidUTF8(log, "")
}

// podsOf are the pods of a component, by name.
func podsOf(observed *observation, component builders.Component) []corev1.Pod {
	var pods []corev1.Pod
	for _, pod := range observed.pods {
		if pod.Labels[builders.LabelComponent] == string(component) {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return pods
}

// troubleWith is the first trouble among a component's pods.
func troubleWith(observed *observation, component builders.Component) *trouble {
	for _, pod := range podsOf(observed, component) {
		if found := troubleOf(&pod); found != nil {
			return found
		}
	}
	return nil
}

// troubleWithData is what keeps PostgreSQL or Redis from serving.
func troubleWithData(observed *observation, set *appsv1.StatefulSet) *trouble {
	claim := find[*corev1.PersistentVolumeClaim](observed.children, "PersistentVolumeClaim", builders.DataClaimName(set.Name))
	if said := observed.said[set.UID]; said != "" {
		return &trouble{shopv1.ReasonPodsRefused, stalled, fmt.Sprintf(
			"StatefulSet %s gets no pod: %s. Let the namespace have room for it, or ask for less in the spec.", set.Name, said)}
	}
	if claim != nil && observed.said[claim.UID] != "" {
		return &trouble{shopv1.ReasonVolumePending, stalled, fmt.Sprintf(
			"PersistentVolumeClaim %s gets no volume: %s. Make the storage class that is missing or mend it (kubectl get storageclasses); or delete the Shop and the claim, and make it with another storage.className.",
			claim.Name, observed.said[claim.UID])}
	}
	return troubleWith(observed, builders.Component(set.Labels[builders.LabelComponent]))
}

// troubleWithServer is what keeps a Deployment from having the pods it wants.
func troubleWithServer(observed *observation, deployment *appsv1.Deployment, component builders.Component) *trouble {
	if isRolledOut(deployment) {
		return nil
	}
	if refusal := deploymentCondition(deployment, appsv1.DeploymentReplicaFailure); refusal.Status == corev1.ConditionTrue {
		return &trouble{shopv1.ReasonPodsRefused, stalled, fmt.Sprintf(
			"Deployment %s lacks pods: %s. Let the namespace have room for them, or ask for less in the spec. %d of %d are available.",
			deployment.Name, strings.TrimSuffix(refusal.Message, "."), deployment.Status.AvailableReplicas, desired(deployment))}
	}
	return troubleWith(observed, component)
}

// puzzles are the objects that make no headway for a cause that only Events
// tell: no pod where there should be one, no volume, a probe that fails. There
// are none in a shop at rest.
func puzzles(observed *observation) []client.Object {
	var puzzling []client.Object
	for _, object := range observed.children {
		switch object := object.(type) {
		case *appsv1.StatefulSet:
			if isShort(object) {
				puzzling = append(puzzling, object)
			}
			claim := find[*corev1.PersistentVolumeClaim](observed.children, "PersistentVolumeClaim", builders.DataClaimName(object.Name))
			if claim != nil && claim.Status.Phase == corev1.ClaimPending && isUnready(object) {
				puzzling = append(puzzling, claim)
			}
		case *batchv1.Job:
			isAtWork := object.Status.StartTime != nil && !isFinished(object) && !isEnding(object)
			if isAtWork && object.Status.Active == 0 && !slices.ContainsFunc(observed.pods, isOfJob(object)) {
				puzzling = append(puzzling, object)
			}
		}
	}
	slices.SortFunc(puzzling, func(a, b client.Object) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return puzzling
}

// isUnready reports whether the StatefulSet controller has looked at a set, and
// still no pod of it is ready.
func isUnready(set *appsv1.StatefulSet) bool {
	return set.DeletionTimestamp == nil && set.Status.ObservedGeneration >= set.Generation && set.Status.ReadyReplicas == 0 &&
		(set.Spec.Replicas == nil || *set.Spec.Replicas > 0)
}

// isShort reports whether it does not even have one.
func isShort(set *appsv1.StatefulSet) bool { return isUnready(set) && set.Status.Replicas == 0 }

func isOfJob(job *batchv1.Job) func(corev1.Pod) bool {
	return func(pod corev1.Pod) bool { return pod.Labels[batchv1.JobNameLabel] == job.Name }
}

// observeEvents reads what Kubernetes' own controllers say of the objects that
// make no headway. Nothing tells of a new Event, so another look follows.
func (r *Reconciler) observeEvents(ctx context.Context, shop *shopv1.Shop, observed *observation) {
	observed.said = map[types.UID]string{}
	for _, object := range puzzles(observed) {
		said := &corev1.EventList{}
		err := r.Live.List(ctx, said, client.InNamespace(shop.Namespace), client.MatchingFields{"involvedObject.uid": string(object.GetUID())})
		if err != nil {
			said.Items = nil // without its words a condition says less, and that is all
		}
		observed.said[object.GetUID()] = lastWarning(said.Items)
	}
}

// lastWarning is the message of the newest Warning.
func lastWarning(events []corev1.Event) string {
	var last *corev1.Event
	for i, event := range events {
		if event.Type == corev1.EventTypeWarning && (last == nil || toldAt(*last).Before(toldAt(event))) {
			last = &events[i]
		}
	}
	if last == nil {
		return ""
	}
	return strings.TrimSuffix(last.Message, ".")
}

// toldAt is when an Event was last told, which each kind of recorder notes in a
// place of its own.
func toldAt(event corev1.Event) *metav1.Time {
	switch {
	case event.Series != nil:
		return &metav1.Time{Time: event.Series.LastObservedTime.Time}
	case !event.LastTimestamp.IsZero():
		return &event.LastTimestamp
	default:
		return &metav1.Time{Time: event.EventTime.Time}
	}
}
