package shop

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

// sayings are what all pods say, and which was asked last.
type sayings struct {
	mutex   sync.Mutex
	now     Answer
	address string
}

func (s *sayings) say(now Answer) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.now = now
}

func (s *sayings) answer(_ context.Context, address string) (Answer, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.address = address
	return s.now, nil
}

func (s *sayings) askedLast() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.address
}

// runPod makes a pod of the server that runs.
func (w *world) runPod(name, component, address string, isReady bool) {
	w.t.Helper()
	w.changeStatus(w.addPod(name, component, corev1.ContainerStatus{Ready: isReady}), name, func(object client.Object) {
		status := &object.(*corev1.Pod).Status
		status.Phase, status.PodIP, status.PodIPs = corev1.PodRunning, address, []corev1.PodIP{{IP: address}}
		status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
		if isReady {
			status.Conditions[0].Status = corev1.ConditionTrue
		}
	})
}

// TestAServerThatStopsLettingPodsIn: of an external database and Redis it is the
// pods that know, and what they say twice counts.
func TestAServerThatStopsLettingPodsIn(t *testing.T) {
	t.Parallel()
	pods := &sayings{}
	w := idleWorld(t)
	w.ask = pods.answer
	w.bindRole(w.namespace)
	w.startOperator(w.namespace)
	for name, url := range map[string]string{"pg": "postgres://u:right@db.example.com/shop", "queue": "redis://:right@redis.example.com"} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, StringData: map[string]string{"url": url}}
		if err := w.Create(kubetest.Context(t), secret); err != nil {
			t.Fatal(err)
		}
	}
	w.create(`{database: {external: {urlSecretRef: {name: pg}}}, redis: {external: {urlSecretRef: {name: queue}}}}`)
	w.migrate("0.1.0", 7)
	w.rollOut("0.1.0")
	w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	w.runPod("acme-api-1", "api", "192.0.2.1", true)
	w.runPod("acme-api-2", "api", "192.0.2.2", false) // it has most to tell
	w.runPod("acme-notifications-1", "notifications", "192.0.2.3", true)

	for _, bad := range []struct {
		says              Answer
		condition, reason string
		words             []string
		obstacle, because string
	}{
		{Answer{"refused", "ok"}, shopv1.ConditionDatabaseReady, shopv1.ReasonDatabaseRefuses, []string{`PostgreSQL refuses the login`, `key "url" of Secret pg`, "Put the right URL into the Secret"}, shopv1.ConditionStalled, shopv1.ReasonDatabaseRefuses},
		{Answer{"unreachable", "ok"}, shopv1.ConditionDatabaseReady, shopv1.ReasonUnreachable, []string{`do not reach PostgreSQL`, `key "url" of Secret pg`, "firewall"}, shopv1.ConditionReconciling, shopv1.ReasonProgressing},
		{Answer{"ok", "refused"}, shopv1.ConditionRedisReady, shopv1.ReasonRedisRefuses, []string{`Redis refuses the login`, `key "url" of Secret queue`}, shopv1.ConditionStalled, shopv1.ReasonRedisRefuses},
		{Answer{"ok", "unreachable"}, shopv1.ConditionRedisReady, shopv1.ReasonUnreachable, []string{`do not reach Redis`, `key "url" of Secret queue`}, shopv1.ConditionReconciling, shopv1.ReasonProgressing},
	} {
		pods.say(bad.says)
		contain(t, w.waitFor(bad.condition, "False", bad.reason), bad.words...)
		contain(t, w.waitFor(shopv1.ConditionReady, "False", bad.reason), bad.words...)
		w.waitFor(bad.obstacle, "True", bad.because)
		pods.say(Answer{"ok", "ok"})
		w.waitFor(bad.condition, "True", shopv1.ReasonAvailable)
		w.waitFor(shopv1.ConditionReady, "True", shopv1.ReasonAvailable)
	}
	if asked := pods.askedLast(); asked != "192.0.2.2:8000" {
		t.Errorf("the pod asked is %s, want the one that is not ready", asked)
	}

	pods.say(Answer{"refused", "ok"})
	w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonDatabaseRefuses)
	w.rest()
	w.ask = func(ctx context.Context, _ string) (Answer, error) { // of an operator that starts anew, and has yet to hear
		<-ctx.Done()
		return Answer{}, ctx.Err()
	}
	w.startSecondOperator().reconcile()
	w.waitFor(shopv1.ConditionDatabaseReady, "False", shopv1.ReasonDatabaseRefuses)
}

// TestAskPod: what is no answer is none, and nobody is followed elsewhere.
func TestAskPod(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   Answer
		isNone bool
	}{
		{"ready", 200, `{"status":"ready","database":"ok","schema":"ok","redis":"unreachable"}`, Answer{"ok", "unreachable"}, false},
		{"not ready", 503, `{"status":"waiting for the database","database":"refused","schema":"unknown","redis":"ok"}`, Answer{"refused", "ok"}, false},
		{"something else", 200, `<html>`, Answer{}, true},
		{"without end", 200, `{"status":"` + strings.Repeat("a", 1<<20), Answer{}, true},
		{"elsewhere", 302, ``, Answer{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/readyz" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer pod.Close()
			got, err := AskPod(t.Context(), strings.TrimPrefix(pod.URL, "http://"))
			if got != test.want || (err != nil) != test.isNone {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	if 2*answersEvery+answerTimeout > 11*time.Second || 2*answersEvery > seenWithin {
		t.Errorf("pods are asked every %s: twice is to be within %s", answersEvery, seenWithin)
	}
}

// TestTheOperatorMayAsk: clients that are named do not keep the operator out where
// it has to ask.
func TestTheOperatorMayAsk(t *testing.T) {
	shop := &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "acme"}}
	shop.Spec.NetworkPolicy.Clients = make([]networkingv1.NetworkPolicyPeer, 1, 2)
	peers := func(namespace string) int {
		policy := builders.ServerNetworkPolicy(shop, builders.Defaults{Namespace: namespace})
		return len(policy.Spec.Ingress[0].From)
	}
	if got := peers("shops"); got != 1 {
		t.Errorf("%d peers of a shop that is not asked, want 1", got)
	}
	shop.Spec.Redis.External = &shopv1.ExternalServer{}
	if got := peers("shops"); got != 2 {
		t.Errorf("%d peers of a shop that is asked, want 2", got)
	}
	if got := peers(""); got != 1 {
		t.Errorf("%d peers with an operator outside the cluster, want 1", got)
	}
}
