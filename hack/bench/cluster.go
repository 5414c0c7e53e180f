package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	dto "github.com/prometheus/client_model/go"
)

const (
	readyLimit        = 5 * time.Minute
	restTime          = time.Minute
	operatorNamespace = "shopkeeper-system"
)

// connect reaches the cluster of KUBECONFIG.
func connect() (client.Client, kubernetes.Interface, error) {
	access, err := config.GetConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("no cluster: %w; run make up first", err)
	}
	access.Timeout = 30 * time.Second
	objects, err := client.New(rest.CopyConfig(access), client.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("reach the cluster: %w; run make up first", err)
	}
	clientset, err := kubernetes.NewForConfig(access)
	return objects, clientset, err
}

// applyToReady applies Shops one after the other, each with two API and two notification pods, in a namespace
// that goes afterwards: first with PostgreSQL and Redis of their own, then with such that are there already.
func applyToReady(ctx context.Context, count int) error {
	cluster, _, err := connect()
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	if err := cluster.Create(ctx, namespace); err != nil {
		return fmt.Errorf("make a namespace: %w", err)
	}
	defer cluster.Delete(context.WithoutCancel(ctx), namespace) //nolint:errcheck // it can be deleted by hand
	b := &readyBench{cluster: cluster, namespace: namespace.Name, images: map[string]string{}}
	rows := [][]string{{"apply → Ready", "runs", "min", "median", "max"}}
	for _, round := range []struct {
		databases string
		prepare   func(ctx context.Context, name string) (spec map[string]any, err error)
	}{
		{"managed", func(context.Context, string) (map[string]any, error) { return map[string]any{}, nil }},
		{"external", b.elsewhere},
	} {
		var times []time.Duration
		for i := range count {
			name := fmt.Sprintf("%s-%d", round.databases, i+1)
			spec, err := round.prepare(ctx, name)
			if err != nil {
				return err
			}
			took, err := b.timeToReady(ctx, name, spec)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "==> %s: %.1f s\n", name, took.Seconds())
			times = append(times, took)
		}
		slices.Sort(times)
		rows = append(rows, []string{round.databases + " PostgreSQL and Redis", fmt.Sprint(count), seconds(times[0]), seconds(times[count/2]), seconds(times[count-1])})
	}
	return printTable(rows...)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// readyBench is a namespace for Shops that are timed.
type readyBench struct {
	cluster   client.Client
	namespace string
	images    map[string]string // of the databases that Shops had of their own, by container
}

// timeToReady applies a Shop, and deletes it when it is Ready.
func (b *readyBench) timeToReady(ctx context.Context, name string, spec map[string]any) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	shop := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "shopkeeper.dev/v1alpha1", "kind": "Shop",
		"metadata": map[string]any{"name": name, "namespace": b.namespace}, "spec": spec,
	}}
	started := time.Now()
	if err := b.cluster.Create(ctx, shop); err != nil {
		return 0, fmt.Errorf("apply the Shop: %w", err)
	}
	err = b.await(ctx, shop, isReady)
	if took = time.Since(started); err != nil {
		return took, err
	}
	var sets appsv1.StatefulSetList
	if err := b.cluster.List(ctx, &sets, client.InNamespace(b.namespace)); err != nil {
		return took, fmt.Errorf("read the StatefulSets: %w", err)
	}
	for _, set := range sets.Items {
		container := set.Spec.Template.Spec.Containers[0]
		b.images[container.Name] = container.Image
	}
	return took, b.cluster.Delete(ctx, shop)
}

// await reads an object until it is as it should be.
func (b *readyBench) await(ctx context.Context, object *unstructured.Unstructured, as func(*unstructured.Unstructured) bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if err := b.cluster.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return fmt.Errorf("read %s: %w", object.GetName(), err)
		}
		if as(object) {
			return nil
		}
	}
	return fmt.Errorf("%s was not Ready within %s", object.GetName(), readyLimit)
}

// elsewhere starts a PostgreSQL and a Redis that are no Shop's own, waits until they are ready, and returns the
// spec of a Shop on them.
func (b *readyBench) elsewhere(ctx context.Context, name string) (spec map[string]any, err error) {
	password := rand.Text()
	urls := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.namespace}, StringData: map[string]string{
		"postgres": fmt.Sprintf("postgres://shop:%s@%s-postgres:5432/shop?sslmode=disable", password, name),
		"redis":    fmt.Sprintf("redis://%s-redis:6379/0", name),
	}}
	if err := b.cluster.Create(ctx, urls); err != nil {
		return nil, fmt.Errorf("make a Secret: %w", err)
	}
	for _, server := range []struct {
		suffix, image string
		port          int32
		environment   []corev1.EnvVar
		arguments     []string
	}{
		{"-postgres", b.images["postgresql"], 5432, []corev1.EnvVar{{Name: "POSTGRES_USER", Value: "shop"}, {Name: "POSTGRES_PASSWORD", Value: password}}, nil},
		{"-redis", b.images["redis"], 6379, nil, []string{"redis-server", "--protected-mode", "no", "--save", ""}},
	} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name + server.suffix, Namespace: b.namespace, Labels: map[string]string{"server": name + server.suffix}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "server", Image: server.image, Env: server.environment, Args: server.arguments, ImagePullPolicy: corev1.PullIfNotPresent,
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(server.port)},
				}},
			}}},
		}
		service := &corev1.Service{ObjectMeta: pod.ObjectMeta, Spec: corev1.ServiceSpec{
			Selector: pod.Labels, Ports: []corev1.ServicePort{{Port: server.port}},
		}}
		if err := errors.Join(b.cluster.Create(ctx, pod), b.cluster.Create(ctx, service)); err != nil {
			return nil, fmt.Errorf("start %s: %w", pod.Name, err)
		}
	}
	for _, suffix := range []string{"-postgres", "-redis"} {
		pod := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name + suffix, "namespace": b.namespace},
		}}
		if err := b.await(ctx, pod, isReady); err != nil {
			return nil, err
		}
	}
	from := func(key string) map[string]any {
		return map[string]any{"external": map[string]any{"urlSecretRef": map[string]any{"name": name, "key": key}}}
	}
	return map[string]any{"database": from("postgres"), "redis": from("redis")}, nil
}

// isReady is of Shops as of pods.
func isReady(object *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(item any) bool {
		condition, _ := item.(map[string]any)
		return condition["type"] == "Ready" && condition["status"] == "True"
	})
}

// atRest reads what the API server counted of writes to the kinds that the operator makes, whoever made
// them, before and after a minute; and the operator's memory.
func atRest(ctx context.Context) error {
	_, cluster, err := connect()
	if err != nil {
		return err
	}
	before, err := writes(ctx, cluster)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "==> watching for %s; leave the cluster alone\n", restTime)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(restTime):
	}
	after, err := writes(ctx, cluster)
	if err != nil {
		return err
	}
	memory, err := operatorMemory(ctx, cluster)
	if err != nil {
		return err
	}
	return printTable([]string{"operator at rest", ""},
		[]string{"writes to Shops and their children in " + restTime.String(), fmt.Sprint(after - before)},
		[]string{"working set", fmt.Sprintf("%.1f MiB", memory/(1<<20))})
}

var (
	childResources = []string{
		"shops", "deployments", "statefulsets", "services", "secrets", "ingresses", "httproutes", "jobs", "serviceaccounts",
	}
	writeVerbs = []string{"APPLY", "CREATE", "POST", "PUT", "UPDATE", "PATCH", "DELETE"}
)

func writes(ctx context.Context, cluster kubernetes.Interface) (total float64, err error) {
	text, err := cluster.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the API server's metrics: %w", err)
	}
	families, err := parse(text)
	if err != nil {
		return 0, err
	}
	for _, metric := range families["apiserver_request_total"].GetMetric() {
		if slices.Contains(childResources, label(metric, "resource")) && slices.Contains(writeVerbs, label(metric, "verb")) {
			total += metric.GetCounter().GetValue()
		}
	}
	return total, nil
}

// operatorMemory is the working set of the operator's pod, as the kubelet counts it.
func operatorMemory(ctx context.Context, cluster kubernetes.Interface) (float64, error) {
	pods, err := cluster.CoreV1().Pods(operatorNamespace).List(ctx, metav1.ListOptions{})
	if err != nil || len(pods.Items) == 0 {
		return 0, errors.Join(errors.New("find the operator's pod in "+operatorNamespace), err)
	}
	operator := pods.Items[0]
	text, err := cluster.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes", operator.Spec.NodeName, "proxy/stats/summary").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the kubelet's statistics: %w", err)
	}
	summary := struct {
		Pods []struct {
			PodRef struct {
				UID types.UID `json:"uid"`
			} `json:"podRef"`
			Memory struct {
				WorkingSetBytes float64 `json:"workingSetBytes"`
			} `json:"memory"`
		} `json:"pods"`
	}{}
	if err := json.Unmarshal(text, &summary); err != nil {
		return 0, fmt.Errorf("read the kubelet's statistics: %w", err)
	}
	for _, pod := range summary.Pods {
		if pod.PodRef.UID == operator.UID {
			return pod.Memory.WorkingSetBytes, nil
		}
	}
	return 0, errors.New("the kubelet has no statistics of the operator's pod")
}

func parse(text []byte) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return families, nil
}

func label(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
