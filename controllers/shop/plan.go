package shop

import (
	"cmp"
	"io"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/apply"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// plan is what is to be done in one turn.
type plan struct {
	handOver  []apply.Configuration // replicas that become an autoscaler's, before anything else
	wanted    []apply.Configuration // to be there, in this order
	unwanted  []key                 // to be deleted
	migration migration
	release   builders.Release // for the pods to run; its zero: none yet
	lookAgain time.Duration    // no watch tells of what is waited for; 0: one does
}

func (p *plan) want(configurations ...apply.Configuration) {
	p.wanted = append(p.wanted, configurations...)
}

// makePlan decides what should be, from the spec and what is there. It is pure
// but for the random that new credentials are made of.
func makePlan(shop *shopv1.Shop, observed *observation, defaults builders.Defaults, random io.Reader) (*plan, error) {
	all := observed.children
	credentials, err := knownCredentials(shop, all).Complete(shop, random)
	if err != nil {
		return nil, err
	}
	wanted := builders.WantedRelease(shop, defaults)
	p := &plan{migration: planMigration(shop, observed, wanted)}
	p.release = releaseToRun(shop, all, p.migration, wanted)

	p.want(builders.ServiceAccount(shop))
	p.wantSecrets(shop, credentials)
	p.want(builders.APIService(shop), builders.NotificationsService(shop))
	if shop.Spec.Database.Managed != nil {
		p.wantDatabase(shop, all, defaults)
	}
	if shop.Spec.Redis.Managed != nil {
		p.wantRedis(shop, all, defaults, credentials)
	}
	p.wantNetworkPolicies(shop)
	if p.release != (builders.Release{}) {
		p.wantServer(shop, all, credentials)
	}
	p.wantIngress(shop, observed)
	p.wantMonitoring(shop, observed)
	p.unwanted = append(p.unwantedChildren(shop, all), p.migration.obsolete...)

	if len(observed.missing) > 0 || lacksKind(shop, observed) {
		p.lookAgain = lookAgain
	}
	return p, nil
}

func knownCredentials(shop *shopv1.Shop, all children) builders.Credentials {
	secret := func(name string) *corev1.Secret { return find[*corev1.Secret](all, "Secret", name) }
	return builders.KnownCredentials(
		secret(builders.DatabaseName(shop)),
		secret(builders.RedisName(shop)),
		secret(builders.AuthName(shop)),
		secret(builders.AdminName(shop)))
}

// releaseToRun is the gate: a new release only once its migration is done, till
// then the one that runs.
func releaseToRun(shop *shopv1.Shop, all children, migration migration, wanted builders.Release) builders.Release {
	if migration.reason == shopv1.ReasonMigrated {
		return wanted
	}
	for _, name := range []string{builders.APIName(shop), builders.NotificationsName(shop)} {
		if deployment := find[*appsv1.Deployment](all, "Deployment", name); deployment != nil {
			return builders.ReleaseOf(deployment)
		}
	}
	return builders.Release{}
}

func (p *plan) wantSecrets(shop *shopv1.Shop, credentials builders.Credentials) {
	if shop.Spec.Database.Managed != nil {
		p.want(builders.DatabaseSecret(shop, credentials))
	}
	if shop.Spec.Redis.Managed != nil {
		p.want(builders.RedisSecret(shop, credentials))
	}
	if shop.Spec.Auth.SigningKeySecretRef == nil {
		p.want(builders.AuthSecret(shop, credentials))
	}
	if shop.Spec.Admin.PasswordSecretRef == nil {
		p.want(builders.AdminSecret(shop, credentials))
	}
}

func (p *plan) wantDatabase(shop *shopv1.Shop, all children, defaults builders.Defaults) {
	name := builders.DatabaseName(shop)
	set := find[*appsv1.StatefulSet](all, "StatefulSet", name)
	wanted := builders.WantedDatabaseVolume(shop)
	image := builders.DatabaseImage(shop, builders.ImageOf(set), defaults)
	p.want(builders.DatabaseService(shop), builders.DatabaseStatefulSet(shop, image, builders.VolumeOf(set, wanted)))
	p.wantRoom(shop, all, name, builders.ComponentDatabase, wanted)
}

func (p *plan) wantRedis(shop *shopv1.Shop, all children, defaults builders.Defaults, credentials builders.Credentials) {
	name := builders.RedisName(shop)
	set := find[*appsv1.StatefulSet](all, "StatefulSet", name)
	wanted := builders.WantedRedisVolume(shop)
	image := cmp.Or(shop.Spec.Redis.Managed.Image, builders.ImageOf(set), defaults.RedisImage)
	p.want(builders.RedisService(shop), builders.RedisStatefulSet(shop, image, builders.VolumeOf(set, wanted), credentials))
	p.wantRoom(shop, all, name, builders.ComponentRedis, wanted)
}

// wantRoom grows a volume that is smaller than wanted.
func (p *plan) wantRoom(shop *shopv1.Shop, all children, set string, component builders.Component, wanted builders.Volume) {
	claim := find[*corev1.PersistentVolumeClaim](all, "PersistentVolumeClaim", builders.DataClaimName(set))
	if claim != nil && claim.Spec.Resources.Requests.Storage().Cmp(wanted.Size) < 0 {
		p.want(builders.GrownClaim(shop, set, component, wanted.Size))
	}
}

func (p *plan) wantNetworkPolicies(shop *shopv1.Shop) {
	if !ptr.Deref(shop.Spec.NetworkPolicy.Enabled, true) {
		return
	}
	p.want(builders.ServerNetworkPolicy(shop))
	if shop.Spec.Database.Managed != nil || shop.Spec.Redis.Managed != nil {
		p.want(builders.DataNetworkPolicy(shop))
	}
}

// wantServer runs both roles of the server.
func (p *plan) wantServer(shop *shopv1.Shop, all children, credentials builders.Credentials) {
	runningAPI := find[*appsv1.Deployment](all, "Deployment", builders.APIName(shop))
	runningNotifications := find[*appsv1.Deployment](all, "Deployment", builders.NotificationsName(shop))
	api := builders.APIDeployment(shop, p.release, credentials, runningAPI)
	notifications := builders.NotificationsDeployment(shop, p.release, credentials, runningNotifications)
	p.letGo(api, runningAPI)
	p.letGo(notifications, runningNotifications)
	p.want(api, notifications, builders.APIDisruptionBudget(shop), builders.NotificationsDisruptionBudget(shop))
	p.wantAutoscalers(shop)
}

func (p *plan) wantMonitoring(shop *shopv1.Shop, observed *observation) {
	if shop.Spec.Monitoring.PodMonitor != nil && observed.kinds[kindPodMonitor] {
		p.want(builders.PodMonitor(shop))
	}
	if shop.Spec.Monitoring.Dashboard != nil {
		p.want(builders.Dashboard(shop))
	}
}

func (p *plan) wantIngress(shop *shopv1.Shop, observed *observation) {
	if wantsCertificate(shop) && observed.kinds[kindCertificate] {
		p.want(builders.Certificate(shop))
	}
	switch {
	case shop.Spec.Ingress == nil:
	case !wantsGateway(shop):
		p.want(builders.IngressObject(shop))
	case observed.kinds[kindHTTPRoute]:
		p.want(builders.APIRoute(shop), builders.NotificationsRoute(shop))
	}
}

// unwantedChildren are those that the Shop owns and its spec no longer asks
// for. Data is not among them, since the Shop does not own it; nor are Jobs,
// whose time the migration knows.
func (p *plan) unwantedChildren(shop *shopv1.Shop, all children) []key {
	wanted := map[key]bool{}
	for _, configuration := range p.wanted {
		wanted[keyOf(configuration)] = true
	}
	var unwanted []key
	for key, object := range all {
		isLeft := object.GetDeletionTimestamp() == nil && metav1.IsControlledBy(object, shop)
		if !wanted[key] && isLeft && key.kind != "Job" {
			unwanted = append(unwanted, key)
		}
	}
	slices.SortFunc(unwanted, func(a, b key) int { return cmp.Compare(a.name, b.name) })
	return unwanted
}
