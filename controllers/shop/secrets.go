package shop

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
)

const (
	// secretsEvery is how often each Secret of others is looked at again: what
	// someone did to it is seen within that time.
	secretsEvery = seenWithin
	// secretsPause bounds what that costs the API server to 50 reads a second. From
	// some hundred shops on, the operator's own Secrets therefore take turns.
	secretsPause = 20 * time.Millisecond
	// secretsShare is how many times as long as a look took is paused before the
	// next: an API server that answers late has more urgent things to do.
	secretsShare = 4
)

// secrets knows the Secrets of all shops. The operator may not list them, nor
// watch them, for who may do that may read every Secret there is; so it reads
// each by its name, remembers it, and a secretWatch looks at it again from time
// to time. The zero value knows none.
type secrets struct {
	mutex sync.Mutex
	known map[client.ObjectKey]*corev1.Secret // nil for one that is not there
	names map[client.ObjectKey][]string       // of the Secrets that each shop uses
}

// read returns those Secrets of a namespace that are there.
func (s *secrets) read(ctx context.Context, live client.Reader, namespace string, names []string) (map[string]*corev1.Secret, error) {
	found := map[string]*corev1.Secret{}
	for _, name := range names {
		at := client.ObjectKey{Namespace: namespace, Name: name}
		secret, isKnown := s.lookUp(at)
		if !isKnown {
			var err error
			if secret, err = readSecret(ctx, live, at); err != nil {
				return nil, err
			}
			s.remember(at, secret)
		}
		if secret != nil {
			found[name] = secret
		}
	}
	return found, nil
}

// readSecret is nil when there is none.
func readSecret(ctx context.Context, live client.Reader, at client.ObjectKey) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := live.Get(ctx, at, secret); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil //nolint:nilnil // that there is none is an answer
		}
		return nil, fmt.Errorf("get Secret %s: %w", at.Name, err)
	}
	secret.ManagedFields = nil
	return secret, nil
}

// learn takes note of a Secret as the API server returned it from a write.
func (s *secrets) learn(written client.Object) {
	if secret, ok := written.(*corev1.Secret); ok {
		s.remember(client.ObjectKeyFromObject(secret), secret)
	}
}

// unlearn makes the next turn read a Secret anew.
func (s *secrets) unlearn(at client.ObjectKey) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.known, at)
}

// forget is of a shop that is no more.
func (s *secrets) forget(shop client.ObjectKey) { s.use(shop, nil) }

func (s *secrets) lookUp(at client.ObjectKey) (secret *corev1.Secret, isKnown bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	secret, isKnown = s.known[at]
	return secret, isKnown
}

func (s *secrets) remember(at client.ObjectKey, secret *corev1.Secret) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.known == nil {
		s.known = map[client.ObjectKey]*corev1.Secret{}
	}
	s.known[at] = secret
}

// use takes note of the names of the Secrets that a shop uses, forgets those that
// no shop uses any more, and reports whether nothing was known of the shop.
func (s *secrets) use(shop client.ObjectKey, names []string) (isFirst bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	before, isKnown := s.names[shop]
	if slices.Equal(before, names) {
		return !isKnown
	}
	if s.names == nil {
		s.names = map[client.ObjectKey][]string{}
	}
	if s.names[shop] = names; names == nil {
		delete(s.names, shop)
	}
	for _, name := range before {
		at := client.ObjectKey{Namespace: shop.Namespace, Name: name}
		if len(s.users(at)) == 0 {
			delete(s.known, at)
		}
	}
	return !isKnown
}

// users are the shops that use a Secret.
func (s *secrets) users(at client.ObjectKey) []client.ObjectKey {
	var users []client.ObjectKey
	for shop, names := range s.names {
		if shop.Namespace == at.Namespace && slices.Contains(names, at.Name) {
			users = append(users, shop)
		}
	}
	return users
}

// all are the Secrets that are known, in order: those of others, with those that
// are not there, and the operator's own.
func (s *secrets) all() (others, own []client.ObjectKey) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, at := range slices.SortedFunc(maps.Keys(s.known), func(a, b client.ObjectKey) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	}) {
		if secret := s.known[at]; secret != nil && secret.Labels[builders.LabelManagedBy] == builders.ManagedBy {
			own = append(own, at)
		} else {
			others = append(others, at)
		}
	}
	return others, own
}

// replace takes note of a newer look at a Secret and returns the shops that it
// is news to. It is none if another was remembered while the API server
// answered: that may be the newer.
func (s *secrets) replace(at client.ObjectKey, before, after *corev1.Secret) []client.ObjectKey {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if known, isKnown := s.known[at]; !isKnown || known != before || isSameSecret(before, after) {
		return nil
	}
	s.known[at] = after
	return s.users(at)
}

func isSameSecret(a, b *corev1.Secret) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.UID == b.UID && a.ResourceVersion == b.ResourceVersion
}

// secretWatch looks at every known Secret again and again, and has the shops
// reconciled to whom one has changed. It runs on the leader only.
type secretWatch struct {
	secrets *secrets
	live    client.Reader
	every   time.Duration
	news    chan<- event.GenericEvent
}

// Start looks until the context ends: in each round at all Secrets of others,
// which conditions may wait for, and at as many of the operator's own as there is
// time for, at least at one for every four.
func (w *secretWatch) Start(ctx context.Context) error {
	var turns []client.ObjectKey
	for ctx.Err() == nil {
		end := time.Now().Add(w.every)
		others, own := w.secrets.all()
		if len(turns) == 0 {
			turns = own
		}
		for _, at := range others {
			w.look(ctx, at)
		}
		for n := 0; len(turns) > 0 && (n <= len(others)/4 || time.Now().Before(end)); n++ {
			began := time.Now()
			w.look(ctx, turns[0])
			turns = turns[1:]
			if n >= len(others)/4 {
				wait(ctx, min(secretsShare*(time.Since(began)-secretsPause), time.Until(end)))
			}
		}
		wait(ctx, time.Until(end))
	}
	return nil
}

// look looks at a Secret, after a pause.
func (w *secretWatch) look(ctx context.Context, at client.ObjectKey) {
	if wait(ctx, secretsPause) {
		tell(ctx, w.news, w.secrets.look(ctx, w.live, at)...)
	}
}

// tell has shops reconciled, until the context ends.
func tell(ctx context.Context, news chan<- event.GenericEvent, shops ...client.ObjectKey) {
	for _, shop := range shops {
		changed := &shopv1.Shop{ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: shop.Name}}
		select {
		case news <- event.GenericEvent{Object: changed}:
		case <-ctx.Done():
		}
	}
}

// look looks at a Secret again and returns the shops that it is news to. One
// that cannot be read is left to the next round.
func (s *secrets) look(ctx context.Context, live client.Reader, at client.ObjectKey) []client.ObjectKey {
	before, isKnown := s.lookUp(at)
	if !isKnown {
		return nil
	}
	reading, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	after, err := readSecret(reading, live, at)
	if err != nil {
		return nil
	}
	return s.replace(at, before, after)
}

// LookAtSecrets looks again, once, at each Secret that turns have read, and
// returns the shops that have to take another turn for it. With a manager, this
// goes on by itself.
func (r *Reconciler) LookAtSecrets(ctx context.Context) []client.ObjectKey {
	var shops []client.ObjectKey
	others, own := r.secrets.all()
	for _, at := range slices.Concat(others, own) {
		shops = append(shops, r.secrets.look(ctx, r.Live, at)...)
	}
	return shops
}

// wait reports whether the time passed, and the context did not end.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}
