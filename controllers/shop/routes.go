package shop

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
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

// available reports whether HTTPRoutes are watched. If they are not and asked
// says that they should be, it looks whether they can be by now.
func (w *routeWatch) available(asked bool) (bool, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.watching || !asked {
		return w.watching, nil
	}
	kind := gatewayv1.SchemeGroupVersion.WithKind("HTTPRoute")
	_, err := w.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the Gateway API: %w", err)
	}
	owner := handler.TypedEnqueueRequestForOwner[*gatewayv1.HTTPRoute](w.scheme, w.mapper, &shopv1.Shop{}, handler.OnlyControllerOwner())
	if err := w.loop.Watch(source.Kind(w.cache, &gatewayv1.HTTPRoute{}, owner)); err != nil {
		return false, fmt.Errorf("watch HTTPRoutes: %w", err)
	}
	w.watching = true
	return true, nil
}
