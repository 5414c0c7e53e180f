package builders

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

const redisFolder = "/etc/redis"

// RedisStatefulSet runs Redis or Valkey.
func RedisStatefulSet(shop *shopv1.Shop, image string, volume Volume, replicas int32, credentials Credentials) *appsv1ac.StatefulSetApplyConfiguration {
	return statefulSet(shop, dataSet{
		name:      RedisName(shop),
		component: ComponentRedis,
		volume:    volume,
		replicas:  replicas,
		pod:       redisPod(shop, image),
		hash:      shortHash(redisConf(shop, credentials.RedisPassword)),
	})
}

func redisPod(shop *shopv1.Shop, image string) *corev1ac.PodSpecApplyConfiguration {
	// -e: an error, such as LOADING, is a failure. The password comes by the
	// environment, since arguments are there for all to see.
	ping := []string{"redis-cli", "-e", "ping"}
	container := restrictedContainer(shop, "redis", image, shop.Spec.Redis.Managed.Resources).
		WithCommand("redis-server", redisFolder+"/"+keyRedisConf).
		WithEnv(corev1ac.EnvVar().WithName("REDISCLI_AUTH").WithValueFrom(corev1ac.EnvVarSource().
			WithSecretKeyRef(corev1ac.SecretKeySelector().WithName(RedisName(shop)).WithKey(keyPassword)))).
		WithPorts(corev1ac.ContainerPort().WithName(redisPortName).WithContainerPort(redisPort).WithProtocol(corev1.ProtocolTCP)).
		WithVolumeMounts(corev1ac.VolumeMount().WithName(dataVolume).WithMountPath("/data")).
		WithStartupProbe(execProbe(ping...).WithPeriodSeconds(1).WithFailureThreshold(600)).
		WithReadinessProbe(execProbe(ping...).WithPeriodSeconds(10).WithFailureThreshold(3)).
		WithLivenessProbe(tcpProbe(redisPortName).WithPeriodSeconds(10).WithFailureThreshold(6))

	pod := restrictedPod(shop, dataUser).WithTerminationGracePeriodSeconds(60)
	mountSecrets(pod, container, redisFolder,
		secretFile{shopv1.SecretKeyRef{Name: RedisName(shop), Key: keyRedisConf}, keyRedisConf})
	mountScratch(pod, container, temporaryVolume, "/tmp", corev1.StorageMediumDefault, "64Mi")
	return pod.WithContainers(container)
}

// redisConf is the whole configuration. Nothing in Redis is the only copy of
// anything, so under pressure it forgets what would expire anyway, and a
// second's worth of appends may be lost.
func redisConf(shop *shopv1.Shop, password string) string {
	lines := []string{
		"dir /data",
		"port 6379",
		"requirepass " + password,
		"appendonly yes",
		"appendfsync everysec",
		`save ""`,
		"maxmemory-policy volatile-lru",
	}
	if limit := shop.Spec.Redis.Managed.Resources.Limits.Memory().Value(); limit > 0 {
		lines = append(lines, fmt.Sprintf("maxmemory %d", limit/4*3))
	}
	return strings.Join(lines, "\n") + "\n"
}
