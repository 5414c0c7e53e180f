package builders

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

const (
	migrationContainer = "migrate"
	migrationRetries   = 3
	// migrationDeadlineSeconds ends a migration that hangs. Six hours: one that
	// rewrites a large table is not to be cut off.
	migrationDeadlineSeconds = 6 * 60 * 60
)

// MigrationJobName says what a migration is of: this release on this database.
// Another image, another version or a new, empty volume is another migration.
func MigrationJobName(shop *shopv1.Shop, release Release, databaseID string) string {
	return shop.Name + "-migrate-" + shortHash(release.Version, release.Image, DatabaseName(shop), databaseID)
}

// MigrationJob brings the database's schema to a release's. Its failed pods are
// kept, for their logs; a retry starts when the last try has ended, so there
// are never two.
func MigrationJob(shop *shopv1.Shop, release Release, databaseID string) *batchv1ac.JobApplyConfiguration {
	labels := merged(ChildLabels(shop, ComponentMigration), map[string]string{LabelVersion: release.Version})
	return batchv1ac.Job(MigrationJobName(shop, release, databaseID), shop.Namespace).
		WithLabels(labels).
		WithOwnerReferences(owner(shop)).
		WithSpec(batchv1ac.JobSpec().
			WithBackoffLimit(migrationRetries).
			WithActiveDeadlineSeconds(migrationDeadlineSeconds).
			WithPodReplacementPolicy(batchv1.Failed).
			// A pod that a drained node takes away has not failed.
			WithPodFailurePolicy(batchv1ac.PodFailurePolicy().WithRules(batchv1ac.PodFailurePolicyRule().
				WithAction(batchv1.PodFailurePolicyActionIgnore).
				WithOnPodConditions(batchv1ac.PodFailurePolicyOnPodConditionsPattern().
					WithType(corev1.DisruptionTarget).
					WithStatus(corev1.ConditionTrue)))).
			WithTemplate(corev1ac.PodTemplateSpec().
				WithLabels(labels).
				WithSpec(migrationPod(shop, release))))
}

func migrationPod(shop *shopv1.Shop, release Release) *corev1ac.PodSpecApplyConfiguration {
	resources := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("100m"),
			corev1.ResourceMemory: resource.MustParse("64Mi"),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
	container := restrictedContainer(shop, migrationContainer, release.Image, resources).
		WithArgs("migrate", "up")
	withSettings(container, []setting{
		{"SHOP_DATABASE_URL_FILE", secretPath(databaseURLFile)},
		{"SHOP_LOG_FORMAT", "json"},
		{"SHOP_RESULT_FILE", corev1.TerminationMessagePathDefault},
	}, nil)

	pod := restrictedPod(shop, serverUser).WithRestartPolicy(corev1.RestartPolicyNever)
	placement(pod, shop.Spec.API.Pods)
	mountSecrets(pod, container, secretsFolder, databaseURL(shop))
	mountScratch(pod, container, temporaryVolume, "/tmp", corev1.StorageMediumDefault, "256Mi")
	return pod.WithContainers(container)
}
