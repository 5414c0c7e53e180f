package builders

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// The files that the server reads its secret settings from.
const (
	databaseURLFile   = "database-url"
	redisURLFile      = "redis-url"
	signingKeysFile   = "signing-keys"
	adminPasswordFile = "admin-password"
)

// setting is one environment variable of the server.
type setting struct{ name, value string }

// apiSettings are the server's settings in the API role.
func apiSettings(shop *shopv1.Shop) []setting {
	return append(sharedSettings(shop, shop.Spec.API.Pods, ComponentAPI),
		setting{"SHOP_PUBLIC_CATALOG", strconv.FormatBool(shop.Spec.API.PublicCatalog)},
		setting{"SHOP_CORS_ORIGINS", strings.Join(shop.Spec.API.CORSOrigins, ",")},
		setting{"SHOP_RATE_LIMITS", rateLimits(shop.Spec.API.RateLimits)},
		setting{"SHOP_ADMIN_EMAIL", shop.Spec.Admin.Email},
		setting{"SHOP_ADMIN_PASSWORD_FILE", secretPath(adminPasswordFile)},
	)
}

// notificationsSettings are the server's settings in the notifications role.
func notificationsSettings(shop *shopv1.Shop) []setting {
	notifications := shop.Spec.Notifications
	return append(sharedSettings(shop, notifications.Pods, ComponentNotifications),
		setting{"SHOP_DRAIN_SECONDS", strconv.FormatInt(drainSeconds(shop), 10)},
		setting{"SHOP_ALLOWED_ORIGINS", strings.Join(notifications.AllowedOrigins, ",")},
	)
}

// sharedSettings are the settings of both roles. An empty value leaves a
// setting out, to the server's own default.
func sharedSettings(shop *shopv1.Shop, pods shopv1.Pods, role Component) []setting {
	return []setting{
		{"GOMEMLIMIT", memoryLimit(pods.Resources)},
		{"SHOP_ROLES", string(role)},
		{"SHOP_LOG_FORMAT", "json"},
		{"SHOP_DATABASE_URL_FILE", secretPath(databaseURLFile)},
		{"SHOP_REDIS_URL_FILE", secretPath(redisURLFile)},
		{"SHOP_SIGNING_KEYS_FILE", secretPath(signingKeysFile)},
		{"SHOP_ISSUER", issuer(shop)},
		{"SHOP_PUBLIC_URL", PublicURL(shop)},
		{"SHOP_TRUSTED_PROXIES", trustedProxies(shop)},
		{"SHOP_ACCESS_TOKEN_TTL", string(shop.Spec.Auth.AccessTokenTTL)},
		{"SHOP_REFRESH_TOKEN_TTL", string(shop.Spec.Auth.RefreshTokenTTL)},
	}
}

// rateLimits names every limit there is, so that the server's defaults, which
// may change with its version, play no part.
func rateLimits(limits shopv1.RateLimits) string {
	var terms []string
	for _, limit := range []struct {
		name string
		rate shopv1.Rate
	}{
		{"login", limits.Login},
		{"register", limits.Register},
		{"reset", limits.Reset},
		{"anonymous", limits.Anonymous},
		{"user", limits.User},
	} {
		if limit.rate != shopv1.RateOff {
			terms = append(terms, limit.name+"="+string(limit.rate))
		}
	}
	if len(terms) == 0 {
		return "off"
	}
	return strings.Join(terms, ",")
}

// withSettings sets a container's environment: the operator's settings, then
// what the spec adds. Where both have a name, the spec's wins: the schema keeps
// it from the names that matter.
func withSettings(container *corev1ac.ContainerApplyConfiguration, settings []setting, added []corev1.EnvVar) {
	for _, setting := range settings {
		overridden := slices.ContainsFunc(added, func(env corev1.EnvVar) bool { return env.Name == setting.name })
		if setting.value != "" && !overridden {
			container.WithEnv(corev1ac.EnvVar().WithName(setting.name).WithValue(setting.value))
		}
	}
	for _, env := range added {
		container.WithEnv(convert[corev1ac.EnvVarApplyConfiguration](env))
	}
}

// PublicURL is where clients find the REST API, or "" when no host is known.
func PublicURL(shop *shopv1.Shop) string {
	ingress := shop.Spec.Ingress
	if ingress == nil || ingress.Host == "" {
		return ""
	}
	if ingress.TLS != nil {
		return "https://" + string(ingress.Host)
	}
	return "http://" + string(ingress.Host)
}

func issuer(shop *shopv1.Shop) string {
	if shop.Spec.Auth.Issuer != "" {
		return shop.Spec.Auth.Issuer
	}
	return shop.Namespace + "/" + shop.Name
}

func trustedProxies(shop *shopv1.Shop) string {
	if shop.Spec.Ingress == nil {
		return ""
	}
	return strings.Join(shop.Spec.Ingress.TrustedProxies, ",")
}

// memoryLimit tells Go's collector to work harder at 90% of the pod's limit,
// before the kernel ends the process at 100%.
func memoryLimit(resources corev1.ResourceRequirements) string {
	limit := resources.Limits.Memory().Value()
	if limit == 0 {
		return ""
	}
	return strconv.FormatInt(limit/10*9, 10)
}

func secretPath(file string) string { return secretsFolder + "/" + file }
