package builders

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

const (
	databaseFolder    = "/var/lib/postgresql/data"
	databaseSecrets   = "/etc/postgresql-secrets"
	databaseSocket    = "/var/run/postgresql"
	databaseStopLimit = 120 // seconds for a last checkpoint
)

// DatabaseStatefulSet runs PostgreSQL.
func DatabaseStatefulSet(shop *shopv1.Shop, image string, volume Volume, replicas int32) *appsv1ac.StatefulSetApplyConfiguration {
	return statefulSet(shop, dataSet{
		name:      DatabaseName(shop),
		component: ComponentDatabase,
		volume:    volume,
		replicas:  replicas,
		pod:       databasePod(shop, image),
	})
}

// DatabaseImage is the image that the spec names; else, with its version, the
// operator's default; else the one that runs, for as long as nobody says
// otherwise.
func DatabaseImage(shop *shopv1.Shop, running string, defaults Defaults) string {
	managed := shop.Spec.Database.Managed
	if managed.Version != "" {
		return repositoryOf(defaults.PostgresImage) + ":" + managed.Version
	}
	return cmp.Or(managed.Image, running, defaults.PostgresImage)
}

// IsOtherMajor reports whether two images are, by their tags, of different major
// versions of PostgreSQL, of which neither reads the data of the other. Of an
// image whose tag does not tell it is not known.
func IsOtherMajor(one, other string) bool {
	a, b := majorOf(one), majorOf(other)
	return a != 0 && b != 0 && a != b
}

// majorOf is 0 when the tag does not begin with what can be a version of
// PostgreSQL.
func majorOf(image string) int {
	tag := strings.TrimPrefix(image, repositoryOf(image))
	digits, _, _ := strings.Cut(strings.TrimPrefix(tag, ":"), "@")
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	major, err := strconv.Atoi(digits)
	if err != nil || major < 9 || major > 99 {
		return 0
	}
	return major
}

// repositoryOf is an image without its tag or digest.
func repositoryOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") {
		return image[:colon]
	}
	return image
}

func databasePod(shop *shopv1.Shop, image string) *corev1ac.PodSpecApplyConfiguration {
	managed := shop.Spec.Database.Managed
	container := restrictedContainer(shop, "postgresql", image, managed.Resources).
		WithArgs(databaseArguments(managed.Parameters)...).
		WithEnv(
			corev1ac.EnvVar().WithName("POSTGRES_USER").WithValue(databaseSuperuser),
			corev1ac.EnvVar().WithName("POSTGRES_DB").WithValue(databaseUser),
			corev1ac.EnvVar().WithName("POSTGRES_PASSWORD_FILE").WithValue(databaseSecrets+"/password"),
			corev1ac.EnvVar().WithName("PGDATA").WithValue(databaseFolder+"/pgdata")).
		WithPorts(corev1ac.ContainerPort().WithName(databasePortName).WithContainerPort(databasePort).WithProtocol(corev1.ProtocolTCP)).
		WithVolumeMounts(corev1ac.VolumeMount().WithName(dataVolume).WithMountPath(databaseFolder)).
		// An hour for the recovery after a crash. By TCP: the server that the first
		// start sets up listens on its socket only, and is not the one to find ready.
		WithStartupProbe(databaseProbe().WithPeriodSeconds(1).WithFailureThreshold(3600)).
		WithReadinessProbe(databaseProbe().WithPeriodSeconds(10).WithFailureThreshold(3)).
		WithLivenessProbe(tcpProbe(databasePortName).WithPeriodSeconds(10).WithFailureThreshold(6)).
		// SIGINT makes PostgreSQL stop without waiting for clients to leave, as
		// SIGTERM would.
		WithLifecycle(corev1ac.Lifecycle().WithPreStop(corev1ac.LifecycleHandler().
			WithExec(corev1ac.ExecAction().WithCommand("sh", "-c", "kill -INT 1"))))

	pod := restrictedPod(shop, dataUser).WithTerminationGracePeriodSeconds(databaseStopLimit)
	mountSecrets(pod, container, databaseSecrets,
		secretFile{shopv1.SecretKeyRef{Name: DatabaseName(shop), Key: keyPassword}, keyPassword},
		secretFile{shopv1.SecretKeyRef{Name: DatabaseName(shop), Key: keyLoginScript}, keyLoginScript})
	mountScratch(pod, container, "run", databaseSocket, corev1.StorageMediumDefault, "16Mi")
	mountScratch(pod, container, temporaryVolume, "/tmp", corev1.StorageMediumDefault, "256Mi")
	mountScratch(pod, container, "shm", "/dev/shm", corev1.StorageMediumMemory, "128Mi")
	logins := loginsContainer(shop, image).WithVolumeMounts(
		corev1ac.VolumeMount().WithName(secretsVolume).WithMountPath(databaseSecrets).WithReadOnly(true),
		corev1ac.VolumeMount().WithName(dataVolume).WithMountPath(databaseFolder).WithReadOnly(true),
		corev1ac.VolumeMount().WithName("run").WithMountPath(databaseSocket))
	mountScratch(pod, logins, "logins", "/tmp", corev1.StorageMediumDefault, "1Mi")
	return pod.WithContainers(container, logins)
}

// databaseArguments sets parameters in the order of their names, so that the
// same ones are always the same pod.
func databaseArguments(parameters map[string]string) []string {
	arguments := []string{"postgres"}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		arguments = append(arguments, "-c", name+"="+parameters[name])
	}
	return arguments
}

func databaseProbe() *corev1ac.ProbeApplyConfiguration {
	return execProbe("pg_isready", "--quiet", "--host=127.0.0.1", "--username="+databaseUser, "--dbname="+databaseUser)
}
