package proof

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/shop"
)

// key names an object of a namespace.
type key struct{ kind, name string }

func (k key) String() string { return k.kind + " " + k.name }

// change is one revision of an object: made, altered or, with no object left,
// deleted.
type change struct {
	key            key
	before, object *unstructured.Unstructured
}

// replica is the history of a namespace, of every object and revision. Whoever
// writes to the namespace does so through send, so nothing is missing. As there
// are no watches, a test knows exactly what a cache holds.
type replica struct {
	mutex   sync.Mutex
	history []change
	last    map[key]*unstructured.Unstructured
}

func newReplica() *replica { return &replica{last: map[key]*unstructured.Unstructured{}} }

// revision is the number of changes so far.
func (r *replica) revision() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.history)
}

// at is an object as it was at a revision, or nil.
func (r *replica) at(revision int, k key) *unstructured.Unstructured {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for i := min(revision, len(r.history)) - 1; i >= 0; i-- {
		if r.history[i].key == k {
			return r.history[i].object
		}
	}
	return nil
}

// now has all objects as they are, or those of some kinds, by kind and name.
func (r *replica) now(kinds ...string) []*unstructured.Unstructured {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var all []*unstructured.Unstructured
	for k, object := range r.last {
		if object != nil && (len(kinds) == 0 || slices.Contains(kinds, k.kind)) {
			all = append(all, object)
		}
	}
	slices.SortFunc(all, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return all
}

// kinds are those of all objects that ever were.
func (r *replica) kinds() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var kinds []string
	for k := range r.last {
		kinds = append(kinds, k.kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// names are those of all objects of a kind that ever were.
func (r *replica) names(kind string) []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var names []string
	for k := range r.last {
		if k.kind == kind {
			names = append(names, k.name)
		}
	}
	slices.Sort(names)
	return names
}

// send makes a call to the API server and notes what comes of it.
func (r *replica) send(next http.RoundTripper, request *http.Request) (*http.Response, *change, error) {
	response, err := next.RoundTrip(request)
	if err != nil || request.Method == http.MethodGet || response.StatusCode >= 300 {
		return response, nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, err
	}
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	if request.URL.Query().Has("dryRun") {
		return response, nil, nil
	}
	if request.Method == http.MethodDelete {
		c, err := r.noteDeletion(next, request)
		if err != nil {
			return nil, nil, err
		}
		return response, c, nil
	}
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(body, &object.Object); err != nil {
		return nil, nil, fmt.Errorf("read the answer to %s %s: %w", request.Method, request.URL.Path, err)
	}
	isGone := object.GetDeletionTimestamp() != nil && len(object.GetFinalizers()) == 0 && object.GetKind() != "Pod"
	return response, r.note(key{object.GetKind(), object.GetName()}, object, isGone), nil
}

// noteDeletion looks what is left: finalizers keep an object for a while.
func (r *replica) noteDeletion(next http.RoundTripper, request *http.Request) (*change, error) {
	look := request.Clone(request.Context())
	look.Method, look.Body, look.ContentLength, look.GetBody = http.MethodGet, nil, 0, nil
	look.URL.RawQuery = ""
	response, err := next.RoundTrip(look)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	object := &unstructured.Unstructured{}
	if err := json.NewDecoder(response.Body).Decode(&object.Object); err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return r.note(key{object.GetKind(), object.GetName()}, object, false), nil
	}
	parts := strings.Split(request.URL.Path, "/") // …/namespaces/NAMESPACE/RESOURCE/NAME
	resource, name := parts[len(parts)-2], parts[len(parts)-1]
	for k, known := range r.last {
		plural, _ := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Kind: k.kind})
		if known != nil && k.name == name && plural.Resource == resource {
			return r.note(k, nil, true), nil
		}
	}
	return nil, fmt.Errorf("%s was deleted and nobody made it", request.URL.Path)
}

func (r *replica) note(k key, object *unstructured.Unstructured, isGone bool) *change {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	before := r.last[k]
	if isGone {
		object = nil
	}
	if before != nil && object != nil && before.GetResourceVersion() == object.GetResourceVersion() {
		return nil // nothing changed
	}
	r.last[k] = object
	r.history = append(r.history, change{k, before, object})
	if object == nil {
		return nil
	}
	return &change{k, before, object}
}

// recorder is the connection of all who are not the operator.
type recorder struct {
	next    http.RoundTripper
	replica *replica
}

func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	response, _, err := r.replica.send(r.next, request)
	return response, err
}

// cached is the operator's client: it reads from a cache that holds what the
// operator's own does, as of a revision that may differ from kind to kind.
type cached struct {
	client.Client
	replica   *replica
	namespace string
	seen      func(kind string) int // the revision that a kind's cache has reached
	decoded   map[decoding]client.Object
}

// Get reads one object.
func (c *cached) Get(_ context.Context, name client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	kind, err := apiutil.GVKForObject(into, c.Scheme())
	if err != nil {
		return err
	}
	known, err := c.known(kind, name)
	if err != nil {
		return err
	}
	if known == nil {
		return apierrors.NewNotFound(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, name.Name)
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(known).Elem())
	return nil
}

// List reads all that match.
func (c *cached) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	kind, err := apiutil.GVKForObject(into, c.Scheme())
	if err != nil {
		return err
	}
	kind.Kind = strings.TrimSuffix(kind.Kind, "List")
	wanted := (&client.ListOptions{}).ApplyOptions(options)
	if wanted.FieldSelector != nil {
		return fmt.Errorf("list %s: this cache has no indices", kind.Kind)
	}
	items := []runtime.Object{}
	for _, name := range c.replica.names(kind.Kind) {
		known, err := c.known(kind, client.ObjectKey{Namespace: cmp.Or(wanted.Namespace, c.namespace), Name: name})
		if err != nil {
			return err
		}
		if known != nil && (wanted.LabelSelector == nil || wanted.LabelSelector.Matches(labels.Set(known.GetLabels()))) {
			items = append(items, known)
		}
	}
	return meta.SetList(into, items)
}

// known is a copy of an object as the cache has it, or nil.
func (c *cached) known(kind schema.GroupVersionKind, name client.ObjectKey) (client.Object, error) {
	object := c.replica.at(c.seen(kind.Kind), key{kind.Kind, name.Name})
	if object == nil || name.Namespace != c.namespace || !selectorOf(kind.GroupKind()).Matches(labels.Set(object.GetLabels())) {
		return nil, nil //nolint:nilnil // that there is none is an answer
	}
	revision := decoding{object.GetUID(), object.GetResourceVersion()}
	if c.decoded[revision] == nil {
		typed, err := c.Scheme().New(kind)
		if err != nil {
			return nil, err
		}
		c.decoded[revision] = as(object, typed.(client.Object))
		if err := transform(kind.GroupKind(), typed); err != nil {
			return nil, err
		}
	}
	return c.decoded[revision].DeepCopyObject().(client.Object), nil
}

// decoding is one revision of an object.
type decoding struct {
	uid     types.UID
	version string
}

// What the operator's cache holds, from its own options.

var cacheOptions = sync.OnceValue(func() cache.Options { return shop.CacheOptions(nil, labels.Everything()) })

var cacheOptionsOf = sync.OnceValue(func() map[schema.GroupKind]cache.ByObject {
	scheme, err := shop.NewScheme()
	if err != nil {
		panic(err)
	}
	all := map[schema.GroupKind]cache.ByObject{}
	for object, option := range cacheOptions().ByObject {
		kind, err := apiutil.GVKForObject(object, scheme)
		if err != nil {
			panic(err)
		}
		all[kind.GroupKind()] = option
	}
	return all
})

func selectorOf(kind schema.GroupKind) labels.Selector {
	if own := cacheOptionsOf()[kind].Label; own != nil {
		return own
	}
	return cacheOptions().DefaultLabelSelector
}

func transform(kind schema.GroupKind, object any) error {
	how := cacheOptionsOf()[kind].Transform
	if how == nil {
		how = cacheOptions().DefaultTransform
	}
	_, err := how(object)
	return err
}

// What the history tells of migrations.

func (r *replica) jobs() []*batchv1.Job {
	var jobs []*batchv1.Job
	for _, object := range r.now("Job") {
		jobs = append(jobs, as(object, &batchv1.Job{}))
	}
	return jobs
}

func (r *replica) migrationsAtWork() (count int) {
	for _, job := range r.jobs() {
		if job.DeletionTimestamp == nil && !has(job, batchv1.JobComplete) && !has(job, batchv1.JobFailed) {
			count++
		}
	}
	return count
}

func (r *replica) isMigratedTo(version string) bool {
	return slices.ContainsFunc(r.jobs(), func(job *batchv1.Job) bool {
		return job.Labels[builders.LabelVersion] == version && has(job, batchv1.JobComplete)
	})
}

func has(job *batchv1.Job, kind batchv1.JobConditionType) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(condition batchv1.JobCondition) bool { return condition.Type == kind })
}

// isEveryPod reports whether every Deployment with pods has but those of its
// template, and is what it should be.
func (r *replica) isEveryPod(is func(*appsv1.Deployment) bool) bool {
	for _, object := range r.now("Deployment") {
		deployment := as(object, &appsv1.Deployment{})
		status := deployment.Status
		isRolledOut := status.ObservedGeneration >= deployment.Generation && status.Replicas == *deployment.Spec.Replicas && status.UpdatedReplicas == status.Replicas
		if *deployment.Spec.Replicas > 0 && (!isRolledOut || !is(deployment)) {
			return false
		}
	}
	return true
}

func secretsHash(deployment *appsv1.Deployment) string {
	return deployment.Spec.Template.Annotations[builders.AnnotationSecretsHash]
}

// secret is what is in a Secret; nothing, if there is none.
func (r *replica) secret(name string) map[string]string {
	object := r.at(r.revision(), key{"Secret", name})
	if object == nil {
		return nil
	}
	return dataOf(object)
}

func dataOf(object *unstructured.Unstructured) map[string]string {
	data := map[string]string{}
	for name, value := range as(object, &corev1.Secret{}).Data {
		data[name] = string(value)
	}
	return data
}

// keyIDs are the ids of the keys of a ring, in their order.
func keyIDs(ring map[string]string) []string {
	set := struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}{}
	if text := ring["signing-keys"]; text != "" {
		if err := json.Unmarshal([]byte(text), &set); err != nil {
			panic(err)
		}
	}
	var ids []string
	for _, key := range set.Keys {
		ids = append(ids, key.ID)
	}
	return ids
}

// as gives an object its type.
func as[T client.Object](object *unstructured.Unstructured, typed T) T {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
		panic(err)
	}
	return typed
}
