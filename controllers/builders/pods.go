package builders

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// The names of ports, volumes and folders within the pods.
const (
	httpPort         = "http"
	metricsPortName  = "metrics"
	databasePortName = "postgresql"
	redisPortName    = "redis"

	dataVolume      = "data"
	secretsVolume   = "secrets"
	temporaryVolume = "tmp"

	secretsFolder = "/etc/shopkeeper"
)

// restrictedPod is where every pod of a shop starts: the PodSecurity level
// `restricted`, as one user, without a token of the API server.
func restrictedPod(shop *shopv1.Shop, user int64) *corev1ac.PodSpecApplyConfiguration {
	pod := corev1ac.PodSpec().
		WithServiceAccountName(ServiceAccountName(shop)).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithRunAsUser(user).
			WithRunAsGroup(user).
			WithFSGroup(user).
			WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault)))
	for _, secret := range shop.Spec.Image.PullSecrets {
		pod.WithImagePullSecrets(corev1ac.LocalObjectReference().WithName(secret.Name))
	}
	return pod
}

// restrictedContainer is where every container starts.
func restrictedContainer(shop *shopv1.Shop, name, image string, resources corev1.ResourceRequirements) *corev1ac.ContainerApplyConfiguration {
	return corev1ac.Container().
		WithName(name).
		WithImage(image).
		WithImagePullPolicy(shop.Spec.Image.PullPolicy).
		// What a container says last is what the operator tells of it.
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithResources(convert[corev1ac.ResourceRequirementsApplyConfiguration](resources)).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithReadOnlyRootFilesystem(true).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL")))
}

// secretFile mounts one key of a Secret as a file of secretsFolder.
type secretFile struct {
	secret shopv1.SecretKeyRef
	file   string
}

// mountSecrets puts files into one read-only volume of the pod.
func mountSecrets(pod *corev1ac.PodSpecApplyConfiguration, container *corev1ac.ContainerApplyConfiguration, folder string, files ...secretFile) {
	projected := corev1ac.ProjectedVolumeSource().WithDefaultMode(0o440)
	for _, file := range files {
		projected.WithSources(corev1ac.VolumeProjection().WithSecret(corev1ac.SecretProjection().
			WithName(file.secret.Name).
			WithItems(corev1ac.KeyToPath().WithKey(file.secret.Key).WithPath(file.file))))
	}
	pod.WithVolumes(corev1ac.Volume().WithName(secretsVolume).WithProjected(projected))
	container.WithVolumeMounts(corev1ac.VolumeMount().WithName(secretsVolume).WithMountPath(folder).WithReadOnly(true))
}

// mountScratch gives a container a folder that it may write to and that goes
// with the pod: on disk, or in memory when the medium says so.
func mountScratch(pod *corev1ac.PodSpecApplyConfiguration, container *corev1ac.ContainerApplyConfiguration, name, folder string, medium corev1.StorageMedium, limit string) {
	scratch := corev1ac.EmptyDirVolumeSource().WithSizeLimit(resource.MustParse(limit))
	if medium != corev1.StorageMediumDefault {
		scratch.WithMedium(medium)
	}
	pod.WithVolumes(corev1ac.Volume().WithName(name).WithEmptyDir(scratch))
	container.WithVolumeMounts(corev1ac.VolumeMount().WithName(name).WithMountPath(folder))
}

func httpProbe(path, port string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(port))).
		WithTimeoutSeconds(3)
}

func tcpProbe(port string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithTCPSocket(corev1ac.TCPSocketAction().WithPort(intstr.FromString(port))).
		WithTimeoutSeconds(3)
}

func execProbe(command ...string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithExec(corev1ac.ExecAction().WithCommand(command...)).
		WithTimeoutSeconds(5)
}

// defaultSpread is over zones and over nodes where there is room.
var defaultSpread = []shopv1.TopologySpread{
	{TopologyKey: corev1.LabelTopologyZone, MaxSkew: 1, WhenUnsatisfiable: corev1.ScheduleAnyway},
	{TopologyKey: corev1.LabelHostname, MaxSkew: 1, WhenUnsatisfiable: corev1.ScheduleAnyway},
}

// spread keeps the pods of a component apart. Those of an older template, which
// are about to go, do not count.
func spread(shop *shopv1.Shop, component Component, wanted []shopv1.TopologySpread) []*corev1ac.TopologySpreadConstraintApplyConfiguration {
	if len(wanted) == 0 {
		wanted = defaultSpread
	}
	var constraints []*corev1ac.TopologySpreadConstraintApplyConfiguration
	for _, over := range wanted {
		constraints = append(constraints, corev1ac.TopologySpreadConstraint().
			WithMaxSkew(over.MaxSkew).
			WithTopologyKey(over.TopologyKey).
			WithWhenUnsatisfiable(over.WhenUnsatisfiable).
			WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(selectorLabels(shop, component))).
			WithMatchLabelKeys("pod-template-hash"))
	}
	return constraints
}

// convert turns a value of the API's types into its apply configuration, which
// has the same JSON.
func convert[T any](value any) *T {
	converted := new(T)
	document, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(document, converted)
	}
	if err != nil {
		panic(fmt.Sprintf("%T is not the JSON of %T: %v", value, converted, err))
	}
	return converted
}
