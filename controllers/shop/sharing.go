package shop

import (
	"fmt"
	"hash/maphash"
	"maps"
	"reflect"
	"sync"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
)

// How many values are remembered for the next object to share, at most. Then it
// begins anew: those that many objects have come again at once.
const mostStrings, mostLabels = 4096, 50_000

// sharing lets the objects of the cache have in memory once what they have in
// common. Shops are much like one another, and so are the children of each: every
// object was decoded with copies of its own of labels, variables and amounts that
// others have too. Nobody changes an object that is in the cache.
type sharing struct {
	mutex   sync.Mutex
	strings map[string]string
	amounts map[string]corev1.ResourceList
	labels  map[uint64]map[string]string // by what is in them
	seed    maphash.Seed
}

func newSharing() *sharing {
	return &sharing{strings: map[string]string{}, amounts: map[string]corev1.ResourceList{}, labels: map[uint64]map[string]string{}, seed: maphash.MakeSeed()}
}

// after has what a transform leaves of an object shared.
func (s *sharing) after(transform toolscache.TransformFunc) toolscache.TransformFunc {
	return func(object any) (any, error) {
		left, err := transform(object)
		if err != nil {
			return nil, err
		}
		s.mutex.Lock()
		defer s.mutex.Unlock()
		if len(s.strings)+len(s.amounts) > mostStrings {
			clear(s.strings)
			clear(s.amounts)
		}
		if len(s.labels) > mostLabels {
			clear(s.labels)
		}
		s.share(reflect.ValueOf(left))
		return left, nil
	}
}

func (s *sharing) share(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		s.share(value.Elem())
	case reflect.Struct:
		for i := range value.NumField() { //nolint:modernize // Fields describes each of them anew, for every object
			if field := value.Field(i); field.CanSet() {
				s.share(field)
			}
		}
	case reflect.Slice:
		for i := 0; value.Type().Elem().Kind() != reflect.Uint8 && i < value.Len(); i++ {
			s.share(value.Index(i))
		}
	case reflect.String:
		value.SetString(first(s.strings, value.String(), value.String()))
	case reflect.Map:
		s.shareMap(value)
	}
}

func (s *sharing) shareMap(value reflect.Value) {
	switch all := value.Interface().(type) {
	case map[string]string:
		if len(all) > 0 {
			value.Set(reflect.ValueOf(s.sharedLabels(all)))
		}
	case corev1.ResourceList:
		if len(all) > 0 {
			value.Set(reflect.ValueOf(first(s.amounts, fmt.Sprint(all), all)))
		}
	}
}

// sharedLabels are the same labels, or annotations.
func (s *sharing) sharedLabels(labels map[string]string) map[string]string {
	sum := uint64(0)
	for name, text := range labels {
		sum += maphash.Comparable(s.seed, [2]string{name, text})
	}
	if same := s.labels[sum]; maps.Equal(same, labels) {
		return same
	}
	for name, text := range labels {
		labels[first(s.strings, name, name)] = first(s.strings, text, text)
	}
	s.labels[sum] = labels
	return labels
}

// first is the value that first had a key.
func first[K comparable, T any](known map[K]T, key K, value T) T {
	if earlier, isKnown := known[key]; isKnown {
		return earlier
	}
	known[key] = value
	return value
}
