package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
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

// applyToReady applies Shops one after the other, each with its own PostgreSQL and Redis, two API and two
// notification pods, in a namespace that goes afterwards.
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
	var times []time.Duration
	for i := range count {
		took, err := timeToReady(ctx, cluster, namespace.Name, fmt.Sprintf("shop-%d", i+1))
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "==> %d of %d: %.1f s\n", i+1, count, took.Seconds())
		times = append(times, took)
	}
	slices.Sort(times)
	return printTable([]string{"apply → Ready", "runs", "min", "median", "max"},
		[]string{"managed PostgreSQL and Redis", fmt.Sprint(count), seconds(times[0]), seconds(times[count/2]), seconds(times[count-1])})
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func timeToReady(ctx context.Context, cluster client.Client, namespace, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	shop := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "shopkeeper.dev/v1alpha1", "kind": "Shop",
		"metadata": map[string]any{"name": name, "namespace": namespace}, "spec": map[string]any{},
	}}
	started := time.Now()
	if err := cluster.Create(ctx, shop); err != nil {
		return 0, fmt.Errorf("apply the Shop: %w", err)
	}
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(shop), shop); err != nil {
			return 0, fmt.Errorf("read the Shop: %w", err)
		}
		if isReady(shop) {
			return time.Since(started), cluster.Delete(ctx, shop)
		}
	}
	return 0, fmt.Errorf("%s was not Ready within %s", name, readyLimit)
}

func isReady(shop *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(shop.Object, "status", "conditions")
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
