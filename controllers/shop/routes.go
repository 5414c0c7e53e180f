package shop

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// routeWatch watches HTTPRoutes as soon as the cluster has that kind. A cluster
// without the Gateway API is as good as one with it, and one that gets it later
// needs no restart of the operator.
type routeWatch struct {
	loop   controller.Controller
	cache  cache.Cache
	scheme *runtime.Scheme
	mapper meta.RESTMapper

	mutex    sync.Mutex
	watching bool
}

// available reports whether HTTPRoutes are watched.
func (w *routeWatch) available() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.watching
}

// start watches HTTPRoutes, unless they are watched already or the cluster does
// not have them.
func (w *routeWatch) start() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.watching {
		return nil
	}
	_, err := w.mapper.RESTMapping(schema.GroupKind{Group: gatewayv1.GroupName, Kind: "HTTPRoute"}, "v1")
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the Gateway API: %w", err)
	}
	owner := handler.TypedEnqueueRequestForOwner[*gatewayv1.HTTPRoute](w.scheme, w.mapper, &shopv1.Shop{}, handler.OnlyControllerOwner())
	if err := w.loop.Watch(source.Kind(w.cache, &gatewayv1.HTTPRoute{}, owner)); err != nil {
		return fmt.Errorf("watch HTTPRoutes: %w", err)
	}
	w.watching = true
	return nil
}
