package builders

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// dataUser is the user of PostgreSQL and Redis.
const dataUser = 999

// Volume is the size and class that a StatefulSet asks of its claim.
type Volume struct {
	Size      resource.Quantity
	ClassName *string
}

// WantedDatabaseVolume is the volume that the spec asks for PostgreSQL.
func WantedDatabaseVolume(shop *shopv1.Shop) Volume {
	storage := shop.Spec.Database.Managed.Storage
	return Volume{Size: *storage.Size, ClassName: storage.ClassName}
}

// WantedRedisVolume is the volume that the spec asks for Redis.
func WantedRedisVolume(shop *shopv1.Shop) Volume {
	storage := shop.Spec.Redis.Managed.Storage
	return Volume{Size: *storage.Size, ClassName: storage.ClassName}
}

// VolumeOf is the volume that a StatefulSet was made with, or wanted when there
// is none yet. The StatefulSet keeps it: the API server refuses a change of the
// template, so growth is done on the claim.
func VolumeOf(set *appsv1.StatefulSet, wanted Volume) Volume {
	if set == nil {
		return wanted
	}
	for _, claim := range set.Spec.VolumeClaimTemplates {
		if claim.Name == dataVolume {
			return Volume{Size: *claim.Spec.Resources.Requests.Storage(), ClassName: claim.Spec.StorageClassName}
		}
	}
	return wanted
}

// ImageOf is the image that a StatefulSet runs, or "". It keeps it when the
// spec names none: a newer operator's default could not read the older one's
// data.
func ImageOf(set *appsv1.StatefulSet) string {
	if set == nil || len(set.Spec.Template.Spec.Containers) == 0 {
		return ""
	}
	return set.Spec.Template.Spec.Containers[0].Image
}

// dataSet is what tells the two StatefulSets apart.
type dataSet struct {
	name      string
	component Component
	volume    Volume
	pod       *corev1ac.PodSpecApplyConfiguration
	hash      string // of the secrets that the pod reads at its start
}

// statefulSet runs one pod on one volume, which outlives it and the Shop.
func statefulSet(shop *shopv1.Shop, set dataSet) *appsv1ac.StatefulSetApplyConfiguration {
	claim := corev1ac.PersistentVolumeClaimSpec().
		WithAccessModes(corev1.ReadWriteOnce).
		WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: set.volume.Size}))
	claim.StorageClassName = set.volume.ClassName
	replicas := int32(1)
	if shop.Spec.Hibernated {
		replicas = 0
	}

	template := corev1ac.PodTemplateSpec().WithLabels(ChildLabels(shop, set.component)).WithSpec(set.pod)
	if set.hash != "" {
		template.WithAnnotations(map[string]string{AnnotationSecretsHash: set.hash})
	}
	data := &corev1ac.PersistentVolumeClaimApplyConfiguration{Spec: claim}
	return appsv1ac.StatefulSet(set.name, shop.Namespace).
		WithLabels(ChildLabels(shop, set.component)).
		WithOwnerReferences(owner(shop)).
		WithSpec(appsv1ac.StatefulSetSpec().
			WithReplicas(replicas).
			WithServiceName(set.name).
			// Else a pod that cannot start, of a bad image say, is in the way of the
			// one that mends it until someone deletes it by hand.
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			WithSelector(selector(shop, set.component)).
			WithRevisionHistoryLimit(5).
			WithPersistentVolumeClaimRetentionPolicy(appsv1ac.StatefulSetPersistentVolumeClaimRetentionPolicy().
				WithWhenDeleted(appsv1.RetainPersistentVolumeClaimRetentionPolicyType).
				WithWhenScaled(appsv1.RetainPersistentVolumeClaimRetentionPolicyType)).
			WithTemplate(template).
			WithVolumeClaimTemplates(data.
				WithName(dataVolume).
				WithLabels(ChildLabels(shop, set.component))))
}

// GrownClaim is the claim of a StatefulSet's pod with more room in it. The
// StatefulSet made it; the operator only ever sets its size.
func GrownClaim(shop *shopv1.Shop, set string, component Component, size resource.Quantity) *corev1ac.PersistentVolumeClaimApplyConfiguration {
	return corev1ac.PersistentVolumeClaim(DataClaimName(set), shop.Namespace).
		WithLabels(ChildLabels(shop, component)).
		WithSpec(corev1ac.PersistentVolumeClaimSpec().
			WithResources(corev1ac.VolumeResourceRequirements().
				WithRequests(corev1.ResourceList{corev1.ResourceStorage: size})))
}
