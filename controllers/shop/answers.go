package shop

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

const (
	// answersEvery is how often the pods of a shop are asked. What they say counts
	// when they say it twice, for one slow answer is no outage.
	answersEvery = seenWithin * 2 / 5
	// answerTimeout bounds one question; a pod itself waits for two seconds.
	answerTimeout, connectTimeout = 3 * time.Second, time.Second
	// answersAtOnce is how many shops are asked at a time, and podsAsked how many
	// pods of a shop until one answers.
	answersAtOnce, podsAsked = 16, 2
)

// Answer is what a pod of the server says, at /readyz, of what it stands on. Its
// zero: none could be asked.
type Answer struct {
	Database string `json:"database"`
	Redis    string `json:"redis"`
}

// What an answer says of what is not well.
const (
	saysRefused     = "refused"
	saysUnreachable = "unreachable"
)

// podClient goes straight to pods, and nowhere that they might send it.
var podClient = &http.Client{
	Timeout:       answerTimeout,
	Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: connectTimeout}).DialContext},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// AskPod asks a pod of the server at its address and port.
func AskPod(ctx context.Context, address string) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return Answer{}, fmt.Errorf("ask a pod: %w", err)
	}
	response, err := podClient.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("ask a pod: %w", err)
	}
	defer response.Body.Close()
	answer := Answer{}
	if err := json.NewDecoder(io.LimitReader(response.Body, 4096)).Decode(&answer); err != nil {
		return Answer{}, fmt.Errorf("read what a pod says: %w", err)
	}
	return answer, nil
}

// answers knows what the pods say of each shop whose database or Redis is
// external. The operator has no business in there; the pods have, and know. The
// zero value knows none.
type answers struct {
	mutex sync.Mutex
	known map[client.ObjectKey]*heard
}

// heard is of one shop.
type heard struct{ counts, last *Answer }

// of is what counts, nil if nothing does yet. The shop is asked from now on.
func (a *answers) of(shop client.ObjectKey) *Answer {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.known == nil {
		a.known = map[client.ObjectKey]*heard{}
	}
	if a.known[shop] == nil {
		a.known[shop] = &heard{}
	}
	return a.known[shop].counts
}

// forget is of a shop that is not to be asked any more.
func (a *answers) forget(shop client.ObjectKey) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	delete(a.known, shop)
}

func (a *answers) shops() []client.ObjectKey {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return slices.Collect(maps.Keys(a.known))
}

// hear takes note of an answer and reports whether from now on it counts.
func (a *answers) hear(shop client.ObjectKey, answer Answer) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	heard := a.known[shop]
	if heard == nil {
		return false
	}
	isSecond := heard.last != nil && *heard.last == answer
	isNew := heard.counts == nil || *heard.counts != answer
	if heard.last = &answer; isSecond && isNew {
		heard.counts = &answer
		return true
	}
	return false
}

// answerWatch asks again and again, and has the shops reconciled whose pods say
// something else. It runs on the leader only.
type answerWatch struct {
	answers *answers
	pods    client.Reader
	ask     func(ctx context.Context, address string) (Answer, error)
	every   time.Duration
	news    chan<- event.GenericEvent
}

// Start asks until the context ends.
func (w *answerWatch) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		end := time.Now().Add(w.every)
		var asking errgroup.Group
		asking.SetLimit(answersAtOnce)
		for _, shop := range w.answers.shops() {
			asking.Go(func() error {
				if w.answers.hear(shop, w.answerOf(ctx, shop)) {
					tell(ctx, w.news, shop)
				}
				return nil
			})
		}
		_ = asking.Wait()
		wait(ctx, time.Until(end))
	}
	return nil
}

// answerOf is what the first pod that answers says.
func (w *answerWatch) answerOf(ctx context.Context, shop client.ObjectKey) Answer {
	pods := &corev1.PodList{}
	ofShop := client.MatchingLabels{builders.LabelManagedBy: builders.ManagedBy, builders.LabelInstance: shop.Name}
	if err := w.pods.List(ctx, pods, client.InNamespace(shop.Namespace), ofShop); err != nil {
		return Answer{}
	}
	able := ableToAnswer(pods.Items)
	for _, pod := range able[:min(len(able), podsAsked)] {
		port := builders.ServerPort(builders.Component(pod.Labels[builders.LabelComponent]))
		answer, err := w.ask(ctx, net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port))))
		if err == nil {
			return answer
		}
	}
	return Answer{}
}

// ableToAnswer are the pods of the server that run, those first that are not
// ready: they have most to tell.
func ableToAnswer(pods []corev1.Pod) []corev1.Pod {
	able := slices.DeleteFunc(pods, func(pod corev1.Pod) bool {
		isServer := builders.ServerPort(builders.Component(pod.Labels[builders.LabelComponent])) > 0
		return !isServer || pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == ""
	})
	readiness := func(pod corev1.Pod) int {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return 1
			}
		}
		return 0
	}
	slices.SortFunc(able, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(readiness(a), readiness(b)), cmp.Compare(a.Name, b.Name))
	})
	return able
}

// observeAnswer is what the pods say, for a shop of which only they can tell.
func (r *Reconciler) observeAnswer(shop *shopv1.Shop, observed *observation) {
	at := client.ObjectKeyFromObject(shop)
	if r.Ask == nil || shop.Spec.Database.External == nil && shop.Spec.Redis.External == nil {
		r.answers.forget(at)
		return
	}
	observed.answer = r.answers.of(at)
}

// whatIsSaid is what the pods say of what a condition is about. An operator that
// has not asked yet holds to what was told last.
func whatIsSaid(shop *shopv1.Shop, observed *observation, condition string) string {
	switch answer := observed.answer; {
	case answer != nil && condition == shopv1.ConditionDatabaseReady:
		return answer.Database
	case answer != nil:
		return answer.Redis
	}
	last := meta.FindStatusCondition(shop.Status.Conditions, condition)
	switch {
	case last != nil && last.Reason == shopv1.ReasonUnreachable:
		return saysUnreachable
	case last != nil && (last.Reason == shopv1.ReasonDatabaseRefuses || last.Reason == shopv1.ReasonRedisRefuses):
		return saysRefused
	default:
		return ""
	}
}
