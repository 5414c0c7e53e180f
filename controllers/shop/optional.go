package shop

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kinds"
)

// The kinds that a cluster may lack.
const (
	kindHTTPRoute   = "HTTPRoute"
	kindCertificate = "Certificate"
	kindPodMonitor  = "PodMonitor"
)

var optionalKinds = map[string]struct {
	version schema.GroupVersion
	object  client.Object
}{
	kindHTTPRoute:   {schema.GroupVersion(gatewayv1.GroupVersion), &gatewayv1.HTTPRoute{}},
	kindCertificate: {kinds.CertManager, &kinds.Certificate{}},
	kindPodMonitor:  {kinds.Monitoring, &kinds.PodMonitor{}},
}

// wantedKinds are the optional kinds that a shop asks for.
func wantedKinds(shop *shopv1.Shop) []string {
	var wanted []string
	if wantsGateway(shop) {
		wanted = append(wanted, kindHTTPRoute)
	}
	if wantsCertificate(shop) {
		wanted = append(wanted, kindCertificate)
	}
	if shop.Spec.Monitoring.PodMonitor != nil {
		wanted = append(wanted, kindPodMonitor)
	}
	return wanted
}

func wantsGateway(shop *shopv1.Shop) bool {
	return shop.Spec.Ingress != nil && shop.Spec.Ingress.Gateway != nil
}

func wantsCertificate(shop *shopv1.Shop) bool {
	return shop.Spec.Ingress != nil && shop.Spec.Ingress.TLS != nil && shop.Spec.Ingress.TLS.IssuerRef != nil
}

// lacksKind reports whether a shop asks for a kind that the cluster does not
// have.
func lacksKind(shop *shopv1.Shop, observed *observation) bool {
	return slices.ContainsFunc(wantedKinds(shop), func(kind string) bool { return !observed.kinds[kind] })
}

// optionalWatch watches objects of the optional kinds as soon as the cluster has
// them. A cluster without is as good as one with them, and one that gets them
// later needs no restart of the operator.
type optionalWatch struct {
	loop   controller.Controller
	cache  cache.Cache
	scheme *runtime.Scheme
	mapper meta.RESTMapper

	mutex    sync.Mutex
	watching map[string]bool
}

// available are the kinds that are watched. A loop without a manager watches
// none.
func (w *optionalWatch) available() map[string]bool {
	if w == nil {
		return nil
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return maps.Clone(w.watching)
}

// start watches objects of some kinds, but for those that are watched already
// and those that the cluster does not have.
func (w *optionalWatch) start(wanted ...string) error {
	if w == nil {
		return nil
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, name := range wanted {
		if w.watching[name] {
			continue
		}
		kind := optionalKinds[name]
		_, err := w.mapper.RESTMapping(kind.version.WithKind(name).GroupKind(), kind.version.Version)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for the kind %s: %w", name, err)
		}
		owner := handler.EnqueueRequestForOwner(w.scheme, w.mapper, &shopv1.Shop{}, handler.OnlyControllerOwner())
		if err := w.loop.Watch(source.Kind(w.cache, kind.object, owner)); err != nil {
			return fmt.Errorf("watch objects of the kind %s: %w", name, err)
		}
		if w.watching == nil {
			w.watching = map[string]bool{}
		}
		w.watching[name] = true
	}
	return nil
}
