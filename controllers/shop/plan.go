package shop

import (
	"cmp"
	"io"
	"slices"
	"strings"
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
	failed    builders.Release // that release runs in place of; its zero: it is the wanted one
	refused   string           // the image of PostgreSQL that cannot read the data; "": it is fine
	lookAgain time.Duration    // no watch tells of what is waited for; 0: one does
}

func (p *plan) want(configurations ...apply.Configuration) {
	p.wanted = append(p.wanted, configurations...)
}

// makePlan decides what should be, from the spec and what is there. It is pure
// but for the random that new credentials are made of.
func makePlan(shop *shopv1.Shop, observed *observation, defaults builders.Defaults, random io.Reader) (*plan, error) {
	all := observed.children
	credentials, err := knownCredentials(shop, observed).Complete(shop, random)
	if err != nil {
		return nil, err
	}
	ring := rotatedKeys(shop, observed, credentials)
	credentials.Keyring = ring.String()
	credentials.IsDatabaseLoginAlone = builders.IsLoginAlone(find[*corev1.Secret](all, "Secret", builders.DatabaseName(shop)), credentials) ||
		len(observed.migrationsAtWork()) == 0 && allStartedWith(shop, all, credentials.Hash())
	wanted := builders.WantedRelease(shop, defaults)
	p := &plan{migration: planMigration(shop, observed, wanted)}
	if shop.Spec.Database.External != nil && p.migration.reason != shopv1.ReasonMigrated {
		credentials.Running = runningSecrets(shop, all) // the new URL has not proved good yet
	}
	p.release = releaseToRun(shop, all, p.migration, wanted)
	p.rollBack(shop, all, wanted)

	p.want(builders.ServiceAccount(shop))
	p.wantSecrets(shop, credentials, ring)
	p.want(builders.APIService(shop), builders.NotificationsService(shop))
	if shop.Spec.Database.Managed != nil {
		p.wantDatabase(shop, observed, defaults)
	}
	if shop.Spec.Redis.Managed != nil {
		p.wantRedis(shop, observed, defaults, credentials)
	}
	p.wantNetworkPolicies(shop, defaults)
	if p.release != (builders.Release{}) {
		p.wantServer(shop, all, credentials)
	}
	p.wantIngress(shop, observed)
	p.wantMonitoring(shop, observed)
	p.unwanted = append(p.unwantedChildren(shop, all), p.migration.obsolete...)

	if len(observed.said) > 0 || p.migration.reason == shopv1.ReasonDatabaseRefuses || lacksKind(shop, observed) {
		p.lookAgain = lookAgain
	}
	p.lookAgainAt(ring.Until(builders.TokenLifetime(shop)))
	return p, nil
}

// lookAgainAt repeats the turn at a time, unless it is repeated before.
func (p *plan) lookAgainAt(moment time.Time) {
	if moment.IsZero() {
		return
	}
	if left := max(time.Until(moment), time.Second); p.lookAgain == 0 || left < p.lookAgain {
		p.lookAgain = left
	}
}

// rotatedKeys is the ring of signing keys, a step nearer to the keys that are
// wanted. Keys that are none leave it as it is; a condition tells.
func rotatedKeys(shop *shopv1.Shop, observed *observation, credentials builders.Credentials) builders.Keyring {
	ring := builders.KnownKeyring(find[*corev1.Secret](observed.children, "Secret", builders.KeyringName(shop)))
	credentials.Keyring, credentials.Running = ring.String(), ""
	allKnow := allStartedWith(shop, observed.children, credentials.Hash())
	wanted := cmp.Or(credentials.SigningKeys, observed.signingKeys)
	rotated, err := ring.Rotate(wanted, allKnow, time.Now(), builders.TokenLifetime(shop))
	if err != nil {
		return ring
	}
	return rotated
}

// allStartedWith reports whether every pod of the server was started with the
// Secrets of a hash, and none of before is left.
func allStartedWith(shop *shopv1.Shop, all children, hash string) bool {
	for _, name := range []string{builders.APIName(shop), builders.NotificationsName(shop)} {
		deployment := find[*appsv1.Deployment](all, "Deployment", name)
		if deployment == nil || desired(deployment) == 0 {
			continue
		}
		if !isRolledOut(deployment) || deployment.Spec.Template.Annotations[builders.AnnotationSecretsHash] != hash {
			return false
		}
	}
	return true
}

func knownCredentials(shop *shopv1.Shop, observed *observation) builders.Credentials {
	secret := func(name string) *corev1.Secret { return find[*corev1.Secret](observed.children, "Secret", name) }
	known := builders.KnownCredentials(
		secret(builders.DatabaseName(shop)),
		secret(builders.RedisName(shop)),
		secret(builders.AuthName(shop)),
		secret(builders.AdminName(shop)))
	known.Foreign = strings.Join(observed.foreign, "\x00")
	if slices.ContainsFunc(observed.unfit, func(secret unfit) bool { return secret.IsForPods() }) {
		known.Running = runningSecrets(shop, observed.children)
	}
	return known
}

// runningSecrets is the hash of the Secrets that the server's pods were started
// with.
func runningSecrets(shop *shopv1.Shop, all children) string {
	deployment := find[*appsv1.Deployment](all, "Deployment", builders.APIName(shop))
	if deployment == nil {
		return ""
	}
	return deployment.Spec.Template.Annotations[builders.AnnotationSecretsHash]
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

func (p *plan) wantSecrets(shop *shopv1.Shop, credentials builders.Credentials, ring builders.Keyring) {
	if shop.Spec.Database.Managed != nil {
		p.want(builders.DatabaseSecret(shop, credentials))
	}
	if shop.Spec.Redis.Managed != nil {
		p.want(builders.RedisSecret(shop, credentials))
	}
	if shop.Spec.Auth.SigningKeySecretRef == nil {
		p.want(builders.AuthSecret(shop, credentials))
	}
	if !ring.IsEmpty() {
		p.want(builders.KeyringSecret(shop, ring))
	}
	if shop.Spec.Admin.PasswordSecretRef == nil {
		p.want(builders.AdminSecret(shop, credentials))
	}
}

// dataReplicas is how many pods PostgreSQL and Redis have: one. In hibernation
// it is none, but not before the last pod that needs them has stopped.
func dataReplicas(shop *shopv1.Shop, observed *observation) int32 {
	isNeeded := len(observed.migrationsAtWork()) > 0 ||
		len(podsOf(observed, builders.ComponentAPI)) > 0 || len(podsOf(observed, builders.ComponentNotifications)) > 0
	if shop.Spec.Hibernated && !isNeeded {
		return 0
	}
	return 1
}

func (p *plan) wantDatabase(shop *shopv1.Shop, observed *observation, defaults builders.Defaults) {
	name := builders.DatabaseName(shop)
	set := find[*appsv1.StatefulSet](observed.children, "StatefulSet", name)
	wanted := builders.WantedDatabaseVolume(shop)
	data := builders.DataImage(find[*corev1.PersistentVolumeClaim](observed.children, "PersistentVolumeClaim", builders.DataClaimName(name)))
	running := cmp.Or(builders.ImageOf(set), data)
	if accepts(set) {
		data = running
	}
	image := builders.DatabaseImage(shop, running, defaults)
	if hasData := shop.Status.SchemaVersion > 0 || data != ""; hasData && builders.IsOtherMajor(running, image) {
		p.refused, image = image, running
	}
	p.want(builders.DatabaseService(shop), builders.DatabaseStatefulSet(shop, image, builders.VolumeOf(set, wanted), dataReplicas(shop, observed)))
	p.wantClaim(shop, observed.children, name, builders.ComponentDatabase, wanted, data)
}

func (p *plan) wantRedis(shop *shopv1.Shop, observed *observation, defaults builders.Defaults, credentials builders.Credentials) {
	name := builders.RedisName(shop)
	set := find[*appsv1.StatefulSet](observed.children, "StatefulSet", name)
	wanted := builders.WantedRedisVolume(shop)
	image := cmp.Or(shop.Spec.Redis.Managed.Image, builders.ImageOf(set), defaults.RedisImage)
	p.want(builders.RedisService(shop), builders.RedisStatefulSet(shop, image, builders.VolumeOf(set, wanted), dataReplicas(shop, observed), credentials))
	p.wantClaim(shop, observed.children, name, builders.ComponentRedis, wanted, "")
}

// wantClaim grows a volume that is smaller than wanted, has it go with the Shop or
// stay behind as the spec says, and notes on it whose data it has. A claim that
// needs none of it is left to its StatefulSet.
func (p *plan) wantClaim(shop *shopv1.Shop, all children, set string, component builders.Component, wanted builders.Volume, data string) {
	claim := find[*corev1.PersistentVolumeClaim](all, "PersistentVolumeClaim", builders.DataClaimName(set))
	if claim == nil || claim.DeletionTimestamp != nil {
		return
	}
	size := *claim.Spec.Resources.Requests.Storage()
	isSmall := size.Cmp(wanted.Size) < 0
	if isSmall {
		size = wanted.Size
	}
	wasSeenTo := claim.Annotations[apply.AnnotationHash] != ""
	if isSmall || wasSeenTo || data != "" || builders.GoesWithShop(shop) {
		p.want(builders.DataClaim(shop, set, component, size, data))
	}
}

func (p *plan) wantNetworkPolicies(shop *shopv1.Shop, defaults builders.Defaults) {
	if !ptr.Deref(shop.Spec.NetworkPolicy.Enabled, true) {
		return
	}
	p.want(builders.ServerNetworkPolicy(shop, defaults))
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
	if p.failed != (builders.Release{}) {
		api.WithAnnotations(map[string]string{builders.AnnotationRolledBack: p.failed.Image})
	}
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
// for. Data and its Secrets are not among them: even those that go with the Shop
// stay for as long as it does. Nor are Jobs, whose time the migration knows.
func (p *plan) unwantedChildren(shop *shopv1.Shop, all children) []key {
	kept := []key{
		{"Secret", builders.DatabaseName(shop)}, {"Secret", builders.AuthName(shop)}, {"Secret", builders.AdminName(shop)},
		{"Secret", builders.KeyringName(shop)},
		{"PersistentVolumeClaim", builders.DataClaimName(builders.DatabaseName(shop))},
		{"PersistentVolumeClaim", builders.DataClaimName(builders.RedisName(shop))},
	}
	wanted := map[key]bool{}
	for _, configuration := range p.wanted {
		wanted[keyOf(configuration)] = true
	}
	var unwanted []key
	for key, object := range all {
		isLeft := object.GetDeletionTimestamp() == nil && metav1.IsControlledBy(object, shop)
		if !wanted[key] && isLeft && key.kind != "Job" && !slices.Contains(kept, key) {
			unwanted = append(unwanted, key)
		}
	}
	slices.SortFunc(unwanted, func(a, b key) int { return cmp.Compare(a.name, b.name) })
	return unwanted
}
