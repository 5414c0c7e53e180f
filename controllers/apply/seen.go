package apply

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mostSeen objects are remembered, in some 100 bytes each.
const mostSeen = 50_000

// Seen remembers which versions of objects were as wanted. It knows nothing that
// a comparison would not tell: a version of an object never changes. The zero
// value knows none.
type Seen struct {
	mutex   sync.Mutex
	objects map[types.UID]seen
}

type seen struct{ version, hash string }

func (s *Seen) has(known client.Object, hash string) bool {
	if s == nil {
		return false
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return known.GetUID() != "" && s.objects[known.GetUID()] == seen{known.GetResourceVersion(), hash}
}

func (s *Seen) add(known client.Object, hash string) {
	if s == nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.objects == nil || len(s.objects) >= mostSeen {
		s.objects = map[types.UID]seen{} // those that are gone go with the rest
	}
	s.objects[known.GetUID()] = seen{known.GetResourceVersion(), hash}
}
