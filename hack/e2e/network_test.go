//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestOutsidersAreCutOff knocks at every door of a running shop, from pods of its namespace and of another:
// the API and the notifications are open to all, the metrics to Prometheus, PostgreSQL and Redis to the
// shop's own pods alone, and these two get nowhere.
func TestOutsidersAreCutOff(t *testing.T) {
	s := newStory(t)
	s.apply(t)
	s.awaitReady(t)
	elsewhere := newCluster(t)

	api, notifications := s.address(t, "api")+":8000", s.address(t, "notifications")+":8001"
	metrics := s.address(t, "api") + ":9090"
	database, redis := s.address(t, "db")+":5432", s.address(t, "redis")+":6379"
	doors := []string{api, notifications, metrics, database, redis}
	ours := map[string]string{"app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "acme", "app.kubernetes.io/component": "visitor"}
	data := map[string]string{"app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "acme", "app.kubernetes.io/component": "redis"}

	visitors := []struct {
		name   string
		from   *cluster
		labels map[string]string
		open   []string
	}{
		{"neighbour", s.cluster, nil, []string{api, notifications}},
		{"stranger", elsewhere, nil, []string{api, notifications}},
		{"impostor", elsewhere, ours, []string{api, notifications}},
		{"prometheus", elsewhere, map[string]string{"app.kubernetes.io/name": "prometheus"}, []string{api, notifications, metrics}},
		{"own", s.cluster, ours, []string{api, notifications, database, redis}},
		{"data", s.cluster, data, nil},
	}
	for _, visitor := range visitors {
		visitor.from.send(t, visitor.name, visitor.labels, doors)
	}
	for _, visitor := range visitors {
		told := visitor.from.report(t, visitor.name)
		for _, door := range doors {
			want := door + " closed"
			for _, open := range visitor.open {
				if door == open {
					want = door + " open"
				}
			}
			if !strings.Contains(told, want+"\n") {
				t.Errorf("to the pod %q it should be: %s; it found:\n%s", visitor.name, want, told)
			}
		}
	}
}

// address is that of a component's pod.
func (s *story) address(t *testing.T, component string) string {
	t.Helper()
	for _, pod := range s.pods(t, component) {
		if pod.Status.PodIP != "" {
			return pod.Status.PodIP
		}
	}
	t.Fatalf("no pod of %s has an address", component)
	return ""
}

// send starts a pod that knocks at doors and writes down which ones open.
func (c *cluster) send(t *testing.T, name string, labels map[string]string, doors []string) {
	t.Helper()
	var script strings.Builder
	for _, door := range doors {
		host, port, _ := strings.Cut(door, ":")
		fmt.Fprintf(&script, "if timeout 8 nc -w 4 %s %s </dev/null >/dev/null 2>&1; then echo %[3]s open; else echo %[3]s closed; fi\n", host, port, door)
	}
	visitor := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: new(int64(0)),
			AutomountServiceAccountToken:  new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "visitor", Image: "localhost/busybox:local",
				// The network learns of a pod a moment after it starts.
				Command: []string{"sh", "-c", "sleep 5\n" + script.String()},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
	if err := c.Create(t.Context(), visitor); err != nil {
		t.Fatalf("send %s: %v", name, err)
	}
}

// report is what the pod has written down, once it is done.
func (c *cluster) report(t *testing.T, name string) string {
	t.Helper()
	eventually(t, 2*time.Minute, name+" is back", func() error {
		visitor := &corev1.Pod{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, visitor); err != nil {
			return err
		}
		if visitor.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("its pod is %s", visitor.Status.Phase)
		}
		return nil
	})
	words, err := c.clientset.CoreV1().Pods(c.namespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("read what %s says: %v", name, err)
	}
	return string(words)
}
