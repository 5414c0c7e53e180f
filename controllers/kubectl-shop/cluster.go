package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

// callTimeout bounds what a command asks of the API server, but for what goes
// on until it is interrupted.
const callTimeout = 30 * time.Second

// cluster is the one of the flags, seen from one namespace.
type cluster struct {
	client.Client
	pods      corev1client.CoreV1Interface
	config    *rest.Config
	namespace string
}

func (p *plugin) connect() (*cluster, error) {
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.UserAgent = "kubectl-shop/" + version
	config.QPS = -1 // the API server limits by itself
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the namespace: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), shopv1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register kinds: %w", err)
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	pods, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &cluster{Client: reader, pods: pods, config: config, namespace: namespace}, nil
}

// find connects and finds the Shop that the arguments name: at most one does.
func (p *plugin) find(ctx context.Context, arguments []string) (*cluster, *shopv1.Shop, error) {
	c, err := p.connect()
	if err != nil {
		return nil, nil, err
	}
	shop, err := c.shop(ctx, strings.Join(arguments, ""))
	return c, shop, err
}

// shop is the named one, or with no name the only one of the namespace.
func (c *cluster) shop(ctx context.Context, name string) (*shopv1.Shop, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	shops := &shopv1.ShopList{}
	if name != "" {
		shop := &shopv1.Shop{}
		err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, shop)
		if !apierrors.IsNotFound(err) {
			return shop, err
		}
	}
	if err := c.List(ctx, shops, client.InNamespace(c.namespace)); err != nil {
		return nil, err
	}
	var names []string
	for _, shop := range shops.Items {
		names = append(names, shop.Name)
	}
	switch {
	case len(names) == 0:
		return nil, fmt.Errorf("namespace %s has no Shop: choose another with --namespace; kubectl get shops --all-namespaces lists all", c.namespace)
	case name != "":
		return nil, fmt.Errorf("namespace %s has no Shop %q; it has %s", c.namespace, name, strings.Join(names, ", "))
	case len(names) > 1:
		return nil, fmt.Errorf("namespace %s has several Shops, say which: %s", c.namespace, strings.Join(names, ", "))
	}
	return &shops.Items[0], nil
}

// podsOf are the pods of a part of a shop, in the order of their names.
func (c *cluster) podsOf(ctx context.Context, shop *shopv1.Shop, component builders.Component) ([]corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pods := &corev1.PodList{}
	err := c.List(ctx, pods, client.InNamespace(shop.Namespace),
		client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(builders.ChildLabels(shop, component))})
	return pods.Items, err
}

// readyPod is one that serves, the newest: an older one may be on its way out.
func (c *cluster) readyPod(ctx context.Context, shop *shopv1.Shop, component builders.Component) (*corev1.Pod, error) {
	pods, err := c.podsOf(ctx, shop, component)
	if err != nil {
		return nil, err
	}
	var newest *corev1.Pod
	for i, pod := range pods {
		if pod.DeletionTimestamp == nil && isReady(&pod) && (newest == nil || newest.CreationTimestamp.Before(&pod.CreationTimestamp)) {
			newest = &pods[i]
		}
	}
	switch {
	case newest != nil:
		return newest, nil
	case shop.Spec.Hibernated:
		return nil, fmt.Errorf("shop %s is hibernated: wake it with kubectl shop wake %s --namespace %s", shop.Name, shop.Name, shop.Namespace)
	default:
		return nil, fmt.Errorf("no pod of %s of shop %s is ready; why: kubectl shop status %s --namespace %s", component, shop.Name, shop.Name, shop.Namespace)
	}
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// explain adds to an error of the cluster what to do about it.
func explain(err error) error {
	_, unreachable := errors.AsType[*url.Error](err)
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case clientcmd.IsEmptyConfig(err):
		return fmt.Errorf("%w\nThere is no kubeconfig: set KUBECONFIG or --kubeconfig", err)
	case meta.IsNoMatchError(err):
		return errors.New("this cluster knows no Shops: choose another with --context, or install the operator: helm install shopkeeper charts/shopkeeper --namespace shopkeeper-system --create-namespace")
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w\nThe cluster does not know you: log in again, or choose another --context", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w\nYou lack the right: looking needs the cluster role view in the Shop's namespace, all else needs edit", err)
	case unreachable:
		return fmt.Errorf("%w\nThe cluster cannot be reached: see that it runs (kubectl cluster-info), or choose another with --context", err)
	default:
		return err
	}
}
