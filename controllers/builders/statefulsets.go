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
	replicas  int32 // 1, or 0 to stop it
	pod       *corev1ac.PodSpecApplyConfiguration
	hash      string // of the secrets that the pod reads at its start
}

// statefulSet runs one pod on one volume, which outlives it and the Shop.
func statefulSet(shop *shopv1.Shop, set dataSet) *appsv1ac.StatefulSetApplyConfiguration {
	claim := corev1ac.PersistentVolumeClaimSpec().
		WithAccessModes(corev1.ReadWriteOnce).
		WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: set.volume.Size}))
	claim.StorageClassName = set.volume.ClassName

	template := corev1ac.PodTemplateSpec().WithLabels(ChildLabels(shop, set.component)).WithSpec(set.pod)
	if set.hash != "" {
		template.WithAnnotations(map[string]string{AnnotationSecretsHash: set.hash})
	}
	data := &corev1ac.PersistentVolumeClaimApplyConfiguration{Spec: claim}
	return appsv1ac.StatefulSet(set.name, shop.Namespace).
		WithLabels(ChildLabels(shop, set.component)).
		WithOwnerReferences(owner(shop)).
		WithSpec(appsv1ac.StatefulSetSpec().
			WithReplicas(set.replicas).
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

// DataImage is the image whose data a volume has, as noted on its claim, or "".
// The volume may outlive the StatefulSet, and the Shop.
func DataImage(claim *corev1.PersistentVolumeClaim) string {
	if claim == nil || claim.DeletionTimestamp != nil {
		return ""
	}
	return claim.Annotations[AnnotationDataImage]
}

// DataClaim is the claim of a StatefulSet's pod, which the StatefulSet made. The
// operator sets its size, notes whose data it has if that is known, and makes it
// go with the Shop if the spec says so.
func DataClaim(shop *shopv1.Shop, set string, component Component, size resource.Quantity, image string) *corev1ac.PersistentVolumeClaimApplyConfiguration {
	claim := corev1ac.PersistentVolumeClaim(DataClaimName(set), shop.Namespace).
		WithLabels(ChildLabels(shop, component)).
		WithSpec(corev1ac.PersistentVolumeClaimSpec().
			WithResources(corev1ac.VolumeResourceRequirements().
				WithRequests(corev1.ResourceList{corev1.ResourceStorage: size})))
	if image != "" {
		claim.WithAnnotations(map[string]string{AnnotationDataImage: image})
	}
	if GoesWithShop(shop) {
		claim.WithOwnerReferences(owner(shop))
	}
	return claim
}

// GoesWithShop reports whether the data, and the Secrets without which nobody
// gets at it, are deleted with the Shop: the garbage collector does it, since
// the Shop then owns them. No finalizer is needed, and none can get stuck.
func GoesWithShop(shop *shopv1.Shop) bool { return shop.Spec.DeletionPolicy == shopv1.DeletionDelete }
