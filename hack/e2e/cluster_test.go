//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// cluster is the cluster of KUBECONFIG, seen from a namespace made for the test.
type cluster struct {
	client.Client
	clientset kubernetes.Interface
	namespace string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	log.SetLogger(logr.Discard()) // what a client has to say is in its errors
	access, err := config.GetConfig()
	if err != nil {
		t.Fatalf("no cluster to test on: %v; run make up first", err)
	}
	access.QPS, access.Burst, access.Timeout = 50, 100, 30*time.Second
	reader, err := client.New(access, client.Options{})
	if err != nil {
		t.Fatalf("reach the cluster: %v; run make up first", err)
	}
	clientset, err := kubernetes.NewForConfig(access)
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-", Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
	}}}
	if err := reader.Create(t.Context(), namespace); err != nil {
		t.Fatalf("make a namespace: %v; run make up first", err)
	}
	t.Cleanup(func() { deleteNamespace(t, reader, namespace) })
	return &cluster{Client: reader, clientset: clientset, namespace: namespace.Name}
}

// deleteNamespace also checks that nothing of a Shop holds its namespace back.
func deleteNamespace(t *testing.T, c client.Client, namespace *corev1.Namespace) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := c.Delete(ctx, namespace); err != nil {
		t.Errorf("delete the namespace: %v", err)
		return
	}
	for ; ; time.Sleep(time.Second) {
		err := c.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
		if apierrors.IsNotFound(err) {
			return
		}
		if ctx.Err() != nil {
			t.Errorf("the namespace hangs: %v", namespace.Status.Conditions)
			return
		}
	}
}

// metrics reads /metrics of a pod, by way of the API server.
func (c *cluster) metrics(t *testing.T, pod string) string {
	t.Helper()
	body, err := c.clientset.CoreV1().Pods(c.namespace).ProxyGet("http", pod, "9090", "metrics", nil).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("read the metrics of %s: %v", pod, err)
	}
	return string(body)
}

// object is a pointer to a Kubernetes struct type T.
type pointer[T any] interface {
	*T
	client.Object
}

type listPointer[T any] interface {
	*T
	client.ObjectList
}

// find reads an object of the namespace, nil if there is none.
func find[T any, P pointer[T]](t *testing.T, c *cluster, name string) P {
	t.Helper()
	found := P(new(T))
	err := c.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, found)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return found
}

func get[T any, P pointer[T]](t *testing.T, c *cluster, name string) P {
	t.Helper()
	found := find[T, P](t, c, name)
	if found == nil {
		t.Fatalf("there is no %T %s", found, name)
	}
	return found
}

func list[T any, P listPointer[T]](t *testing.T, c *cluster) P {
	t.Helper()
	found := P(new(T))
	if err := c.List(t.Context(), found, client.InNamespace(c.namespace)); err != nil {
		t.Fatalf("list: %v", err)
	}
	return found
}

func patch(t *testing.T, c *cluster, kind client.Object, name, merge string) {
	t.Helper()
	kind.SetName(name)
	kind.SetNamespace(c.namespace)
	if err := c.Patch(t.Context(), kind, client.RawPatch(types.MergePatchType, []byte(merge))); err != nil {
		t.Fatalf("patch %s: %v", name, err)
	}
}

func remove(t *testing.T, c *cluster, doomed client.Object) {
	t.Helper()
	if err := c.Delete(t.Context(), doomed); err != nil {
		t.Fatalf("delete %s: %v", doomed.GetName(), err)
	}
}

// eventually checks a few times a second until the check passes; the last failure is reported.
func eventually(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(fmt.Errorf("not so after %s: %s: %w", within, what, err))
		}
		time.Sleep(250 * time.Millisecond)
	}
}
