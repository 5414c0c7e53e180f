package builders

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	corev1 "k8s.io/api/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

const (
	serverContainer = "server"
	// serverUser is the user of the server's image.
	serverUser = 65532

	// preStopSeconds is how long a stopping pod goes on as if nothing were, while
	// the news that it leaves reaches every proxy.
	preStopSeconds = 5
	// finishSeconds is what a pod has to finish the requests under way.
	finishSeconds = 20
	// progressDeadlineSeconds is when a rollout without progress is called stuck.
	progressDeadlineSeconds = 300
)

// role is what tells the two Deployments of the server apart.
type role struct {
	name        string
	component   Component
	pods        shopv1.Pods
	running     *appsv1.Deployment // the Deployment as it is; nil when there is none
	autoscaling *shopv1.Autoscaling
	port        int32
	drain       int64 // seconds, over which sockets are closed
	settings    []setting
	secrets     []secretFile
}

// APIDeployment runs the REST API. running is the Deployment as it is, nil when
// there is none.
func APIDeployment(shop *shopv1.Shop, release Release, credentials Credentials, running *appsv1.Deployment) *appsv1ac.DeploymentApplyConfiguration {
	return deployment(shop, release, credentials, role{
		name:        APIName(shop),
		component:   ComponentAPI,
		pods:        shop.Spec.API.Pods,
		running:     running,
		autoscaling: APIAutoscaling(shop),
		port:        apiPort,
		settings:    apiSettings(shop),
		secrets:     append(serverSecrets(shop), secretFile{AdminPasswordRef(shop), adminPasswordFile}),
	})
}

// NotificationsDeployment runs the WebSocket listener.
func NotificationsDeployment(shop *shopv1.Shop, release Release, credentials Credentials, running *appsv1.Deployment) *appsv1ac.DeploymentApplyConfiguration {
	return deployment(shop, release, credentials, role{
		name:        NotificationsName(shop),
		component:   ComponentNotifications,
		pods:        shop.Spec.Notifications.Pods,
		running:     running,
		autoscaling: NotificationsAutoscaling(shop),
		port:        notificationsPort,
		drain:       drainSeconds(shop),
		settings:    notificationsSettings(shop),
		secrets:     serverSecrets(shop),
	})
}

// deployment replaces its pods one by one, and none before its successor is
// ready: no request meets a shop with a pod less than it asked for.
func deployment(shop *shopv1.Shop, release Release, credentials Credentials, role role) *appsv1ac.DeploymentApplyConfiguration {
	version := map[string]string{LabelVersion: release.Version}
	spec := appsv1ac.DeploymentSpec().
		WithRevisionHistoryLimit(5).
		WithProgressDeadlineSeconds(progressDeadlineSeconds).
		WithSelector(selector(shop, role.component)).
		WithStrategy(appsv1ac.DeploymentStrategy().
			WithType(appsv1.RollingUpdateDeploymentStrategyType).
			WithRollingUpdate(appsv1ac.RollingUpdateDeployment().
				WithMaxUnavailable(intstr.FromInt32(0)).
				WithMaxSurge(intstr.FromInt32(1)))).
		WithTemplate(corev1ac.PodTemplateSpec().
			WithLabels(merged(plain(role.pods.PodLabels), ChildLabels(shop, role.component), version)).
			WithAnnotations(merged(role.pods.PodAnnotations, map[string]string{AnnotationSecretsHash: credentials.Hash()})).
			WithSpec(serverPod(shop, release, role)))
	object := appsv1ac.Deployment(role.name, shop.Namespace).
		WithLabels(merged(ChildLabels(shop, role.component), version)).
		WithOwnerReferences(owner(shop)).
		WithSpec(spec)
	if spec.Replicas = role.replicas(shop); spec.Replicas == nil {
		object.WithAnnotations(map[string]string{AnnotationAutoscaled: "true"})
	}
	return object
}

func serverPod(shop *shopv1.Shop, release Release, role role) *corev1ac.PodSpecApplyConfiguration {
	container := restrictedContainer(shop, serverContainer, release.Image, role.pods.Resources).
		WithArgs("serve").
		WithPorts(
			corev1ac.ContainerPort().WithName(httpPort).WithContainerPort(role.port).WithProtocol(corev1.ProtocolTCP),
			corev1ac.ContainerPort().WithName(metricsPortName).WithContainerPort(metricsPort).WithProtocol(corev1.ProtocolTCP)).
		WithStartupProbe(httpProbe("/healthz", httpPort).WithPeriodSeconds(1).WithFailureThreshold(120)).
		WithReadinessProbe(httpProbe("/readyz", httpPort).WithPeriodSeconds(3).WithFailureThreshold(2)).
		WithLivenessProbe(httpProbe("/healthz", httpPort).WithPeriodSeconds(10).WithFailureThreshold(6)).
		WithLifecycle(corev1ac.Lifecycle().WithPreStop(corev1ac.LifecycleHandler().
			WithSleep(corev1ac.SleepAction().WithSeconds(preStopSeconds))))
	withSettings(container, role.settings, role.pods.Env)

	pod := restrictedPod(shop, serverUser).
		WithTerminationGracePeriodSeconds(preStopSeconds + role.drain + finishSeconds).
		WithTopologySpreadConstraints(spread(shop, role.component, role.pods.TopologySpread)...)
	placement(pod, role.pods)
	mountSecrets(pod, container, secretsFolder, role.secrets...)
	mountScratch(pod, container, temporaryVolume, "/tmp", corev1.StorageMediumDefault, "256Mi")
	return pod.WithContainers(container)
}

// placement says where pods may run.
func placement(pod *corev1ac.PodSpecApplyConfiguration, pods shopv1.Pods) {
	if len(pods.NodeSelector) > 0 {
		pod.WithNodeSelector(pods.NodeSelector)
	}
	for _, toleration := range pods.Tolerations {
		pod.WithTolerations(convert[corev1ac.TolerationApplyConfiguration](toleration))
	}
	if pods.Affinity != nil {
		pod.WithAffinity(convert[corev1ac.AffinityApplyConfiguration](pods.Affinity))
	}
	if pods.PriorityClass != "" {
		pod.WithPriorityClassName(pods.PriorityClass)
	}
}

// serverSecrets are the files that both roles read.
func serverSecrets(shop *shopv1.Shop) []secretFile {
	return []secretFile{
		databaseURL(shop),
		{RedisURLRef(shop), redisURLFile},
		{shopv1.SecretKeyRef{Name: KeyringName(shop), Key: keySigningKeys}, signingKeysFile},
	}
}

func databaseURL(shop *shopv1.Shop) secretFile {
	return secretFile{DatabaseURLRef(shop), databaseURLFile}
}

func drainSeconds(shop *shopv1.Shop) int64 {
	if seconds := shop.Spec.Notifications.DrainSeconds; seconds != nil {
		return int64(*seconds)
	}
	return 0
}
