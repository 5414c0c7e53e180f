package proof

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// others plays the kubelet, the garbage collector and the controllers of
// Kubernetes, each of which does what there is to do at once.
type others struct {
	*stage
	fails map[string]bool // versions whose migration fails
}

// act does all there is to do, and reports whether there was anything.
func (o *others) act() bool {
	before := o.replica.revision()
	for _, object := range o.replica.now() {
		o.collect(object)
	}
	for _, object := range o.replica.now("StatefulSet", "Job", "Deployment", "Ingress") {
		if object.GetDeletionTimestamp() != nil {
			continue
		}
		switch object.GetKind() {
		case "StatefulSet":
			o.runStatefulSet(as(object, &appsv1.StatefulSet{}))
		case "Job":
			o.runJob(as(object, &batchv1.Job{}))
		case "Deployment":
			o.runDeployment(as(object, &appsv1.Deployment{}))
		default:
			o.serveIngress(as(object, &networkingv1.Ingress{}))
		}
	}
	return o.replica.revision() > before
}

// collect deletes what is left of an owner that is gone, and lets go of what is
// being deleted; the operator's own finalizers are the operator's to take off.
func (o *others) collect(object *unstructured.Unstructured) {
	if object.GetDeletionTimestamp() != nil {
		left := slices.DeleteFunc(slices.Clone(object.GetFinalizers()), func(name string) bool { return !strings.HasPrefix(name, "shopkeeper.dev/") })
		if len(left) < len(object.GetFinalizers()) {
			document := mustMarshal(map[string]any{"metadata": map[string]any{"finalizers": left}})
			err := o.user.Patch(o.ctx(), object.DeepCopy(), client.RawPatch(types.MergePatchType, document))
			o.must(client.IgnoreNotFound(err), "let go of what is being deleted")
		}
		return
	}
	isOrphan := slices.ContainsFunc(object.GetOwnerReferences(), func(owner metav1.OwnerReference) bool {
		known := o.replica.at(o.replica.revision(), key{owner.Kind, owner.Name})
		return known == nil || known.GetUID() != owner.UID
	})
	if isOrphan {
		if err := o.user.Delete(o.ctx(), object, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			o.t.Fatalf("collect %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

func (o *others) runStatefulSet(set *appsv1.StatefulSet) {
	for _, template := range set.Spec.VolumeClaimTemplates {
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: set.Namespace, Name: template.Name + "-" + set.Name + "-0", Labels: template.Labels},
			Spec:       template.Spec,
		}
		if *set.Spec.Replicas > 0 && o.replica.at(o.replica.revision(), key{"PersistentVolumeClaim", claim.Name}) == nil {
			o.must(o.user.Create(o.ctx(), claim), "claim a volume")
		}
	}
	replicas := *set.Spec.Replicas
	status := appsv1.StatefulSetStatus{
		ObservedGeneration: set.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas,
		CurrentReplicas: set.Status.CurrentReplicas, CurrentRevision: "1", UpdateRevision: "1", CollisionCount: set.Status.CollisionCount,
	}
	if !equality.Semantic.DeepEqual(set.Status, status) {
		set.Status = status
		o.must(o.user.Status().Update(o.ctx(), set), "start a pod")
	}
}

// runJob runs a Job to its end, in which its pod leaves a word.
func (o *others) runJob(job *batchv1.Job) {
	if has(job, batchv1.JobComplete) || has(job, batchv1.JobFailed) {
		return
	}
	phase, code, word := corev1.PodSucceeded, int32(0), `{"schemaVersion":7}`
	ends, end := batchv1.JobSuccessCriteriaMet, batchv1.JobComplete
	if o.fails[job.Labels[builders.LabelVersion]] {
		phase, code, word = corev1.PodFailed, 1, "there is a column of that name"
		ends, end = batchv1.JobFailureTarget, batchv1.JobFailed
	}
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, GenerateName: job.Name + "-", Labels: job.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID, Controller: &yes}},
		},
		Spec: job.Spec.Template.Spec,
	}
	o.must(o.user.Create(o.ctx(), pod), "start the pod of a Job")
	ended := corev1.ContainerStateTerminated{ExitCode: code, Message: word, FinishedAt: metav1.Now()}
	pod.Status = corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{
		Name: pod.Spec.Containers[0].Name, State: corev1.ContainerState{Terminated: &ended},
	}}}
	o.must(o.user.Status().Update(o.ctx(), pod), "end the pod of a Job")

	now := metav1.Now()
	job.Status = batchv1.JobStatus{StartTime: &now, Ready: new(int32), Terminating: new(int32)}
	for _, kind := range []batchv1.JobConditionType{ends, end} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: "Ended", Message: "It has ended.", LastTransitionTime: now})
	}
	if end == batchv1.JobComplete {
		job.Status.CompletionTime, job.Status.Succeeded = &now, 1
	} else {
		job.Status.Failed = 1
	}
	o.must(o.user.Status().Update(o.ctx(), job), "end a Job")
}

func (o *others) runDeployment(deployment *appsv1.Deployment) {
	if !o.startsPods(deployment.Spec.Template.Spec) {
		return // the pods of the old template go on
	}
	replicas := *deployment.Spec.Replicas
	status := appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas,
		TerminatingReplicas: deployment.Status.TerminatingReplicas, CollisionCount: deployment.Status.CollisionCount,
		Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable", LastUpdateTime: epoch, LastTransitionTime: epoch},
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable", LastUpdateTime: epoch, LastTransitionTime: epoch},
		},
	}
	if !equality.Semantic.DeepEqual(deployment.Status, status) {
		deployment.Status = status
		o.must(o.user.Status().Update(o.ctx(), deployment), "roll out")
	}
}

// startsPods reports whether every Secret that pods mount is there.
func (o *others) startsPods(pod corev1.PodSpec) bool {
	isThere := func(name string) bool {
		return o.replica.at(o.replica.revision(), key{"Secret", name}) != nil
	}
	for _, volume := range pod.Volumes {
		if volume.Secret != nil && !isThere(volume.Secret.SecretName) {
			return false
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil && !isThere(source.Secret.Name) {
				return false
			}
		}
	}
	return true
}

func (o *others) serveIngress(ingress *networkingv1.Ingress) {
	status := networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}}}
	if !equality.Semantic.DeepEqual(ingress.Status, status) {
		ingress.Status = status
		o.must(o.user.Status().Update(o.ctx(), ingress), "give an address")
	}
}

// epoch is when all conditions of others changed last, so that they do not.
var epoch = metav1.Unix(1_700_000_000, 0)
