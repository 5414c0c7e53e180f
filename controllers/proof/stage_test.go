package proof

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/builders"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
	"github.com/shopkeeper-dev/shopkeeper/controllers/shop"
)

var cluster *rest.Config

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	kubetest.Main(m, &cluster)
}

// operatorUser is the ServiceAccount that config/rbac is about.
const operatorUser = "system:serviceaccount:shopkeeper-system:shopkeeper-operator"

// shipped applies config/rbac to the cluster, once, and returns what all
// clients share.
var shipped = sync.OnceValues(func() (*sharedClientParts, error) {
	cluster.ContentType = runtime.ContentTypeJSON // else what is sent and answered could not be read
	httpClient, err := rest.HTTPClientFor(cluster)
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(cluster, httpClient)
	if err != nil {
		return nil, err
	}
	scheme, err := shop.NewScheme()
	if err != nil {
		return nil, err
	}
	admin, err := client.New(cluster, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, err
	}
	namespace := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "shopkeeper-system"}}}
	if err := admin.Create(context.Background(), namespace); err != nil {
		return nil, err
	}
	return &sharedClientParts{scheme, mapper, admin}, applyFiles(admin, filepath.Join(kubetest.Root(), "config", "rbac"))
})

type sharedClientParts struct {
	scheme *runtime.Scheme
	mapper meta.RESTMapper
	admin  client.Client // whose doings no replica has
}

func applyFiles(admin client.Client, folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		content, err := os.Open(file)
		if err != nil {
			return err
		}
		decoder := utilyaml.NewYAMLOrJSONDecoder(content, 4096)
		for err == nil {
			object := &unstructured.Unstructured{}
			if err = decoder.Decode(&object.Object); err == nil && len(object.Object) > 0 {
				err = admin.Create(context.Background(), object)
			}
		}
		content.Close()
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// stage is a namespace with an operator whose turns the test takes.
type stage struct {
	t         testing.TB
	namespace string
	replica   *replica
	wire      *wire
	admin     client.Client // whose doings the replica does not have
	user      client.Client // of all who are not the operator
	others    *others
	operator  *shop.Reconciler
	writes    client.Client // of the operator
	defaults  builders.Defaults
	decoded   map[decoding]client.Object
	lastError error
}

func newStage(t testing.TB) *stage {
	t.Helper()
	parts, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, admin: parts.admin, replica: newReplica(), decoded: map[decoding]client.Object{}, defaults: builders.Defaults{
		Version: "0.1.0", ServerImage: "ghcr.io/shopkeeper-dev/server", PostgresImage: "docker.io/library/postgres:17", RedisImage: "docker.io/valkey/valkey:8",
	}}
	s.others = &others{stage: s, fails: map[string]bool{}}
	s.wire = &wire{replica: s.replica}
	s.user = connect(t, parts, rest.ImpersonationConfig{}, func(next http.RoundTripper) http.RoundTripper { return recorder{next, s.replica} })
	s.writes = connect(t, parts, rest.ImpersonationConfig{UserName: operatorUser, Groups: []string{"system:serviceaccounts", "system:authenticated"}},
		func(next http.RoundTripper) http.RoundTripper { s.wire.next = next; return s.wire })
	namespace := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
		"generateName": "proof-", "labels": map[string]any{"pod-security.kubernetes.io/enforce": "restricted"},
	}}}
	s.must(s.admin.Create(s.ctx(), namespace), "make a namespace")
	s.namespace = namespace.GetName()
	s.restart()
	return s
}

func connect(t testing.TB, parts *sharedClientParts, as rest.ImpersonationConfig, wrap func(http.RoundTripper) http.RoundTripper) client.Client {
	t.Helper()
	config := rest.CopyConfig(cluster)
	config.Impersonate = as
	config.Wrap(wrap)
	connected, err := client.New(config, client.Options{Scheme: parts.scheme, Mapper: parts.mapper})
	if err != nil {
		t.Fatal(err)
	}
	return connected
}

func (s *stage) ctx() context.Context { return s.t.Context() }

func (s *stage) must(err error, doing string) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", doing, err)
	}
}

// restart starts an operator that knows nothing, with a cache that is current.
func (s *stage) restart() {
	s.wire.mutex.Lock()
	s.wire.dead = false
	s.wire.mutex.Unlock()
	s.operator = s.newOperator(func(string) int { return s.replica.revision() })
}

// newOperator is one that knows nothing, with a cache that has seen of each kind
// so many revisions of the namespace.
func (s *stage) newOperator(seen func(kind string) int) *shop.Reconciler {
	return &shop.Reconciler{
		Client: &cached{Client: s.writes, replica: s.replica, namespace: s.namespace, seen: seen, decoded: s.decoded},
		Live:   s.writes, Events: deaf{}, Defaults: s.defaults, Random: rand.Reader,
	}
}

// deaf is told of Events.
type deaf struct{}

// Eventf takes one.
func (deaf) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}

// turn is one turn of the loop. One that wants to be repeated soon is an error
// too; a key that is dropped in an hour is nothing to wait for.
func (s *stage) turn() error {
	result, err := s.operator.Reconcile(s.ctx(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: s.namespace, Name: "acme"}})
	if err == nil && result.RequeueAfter > 0 && result.RequeueAfter <= time.Minute {
		err = errAgain
	}
	s.lastError = err
	return err
}

var errAgain = errors.New("it asks for another turn")

// settle goes on, with an operator that is started again whenever it dies, until
// nobody has anything left to do, or nothing but trying in vain: more often than
// a turn has calls that a fault can make fail one after the other. Before it
// rests the operator looks at its Secrets, and again should a fault have befallen
// that.
func (s *stage) settle() {
	s.t.Helper()
	const content, vain = 2, 10
	for idle, turns := 0, 0; idle < vain; turns++ {
		if turns > 200 {
			s.t.Fatalf("after %d turns there is still something to do; the last error was %v, the last calls %v", turns, s.lastError, last(s.wire.made(), 10))
		}
		before := s.replica.revision()
		err := s.turn()
		isIdle := !s.wire.isDead() && s.replica.revision() == before && !s.others.act() && len(s.operator.LookAtSecrets(s.ctx())) == 0
		switch {
		case s.wire.isDead():
			s.restart()
			idle = 0
		case !isIdle:
			idle = 0
		case err == nil && (idle+1 >= content || !s.wire.isDisturbed()):
			return
		default:
			idle++
		}
	}
}

func last[T any](all []T, count int) []T { return all[max(0, len(all)-count):] }

// What users do.

// apply makes a Shop of the YAML of a spec.
func (s *stage) apply(spec string) {
	s.t.Helper()
	s.must(s.user.Create(s.ctx(), s.shopOf(parse(s.t, spec))), "make the Shop")
}

func (s *stage) shopOf(spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": shopv1.GroupVersion.String(), "kind": "Shop", "metadata": map[string]any{"name": "acme", "namespace": s.namespace}, "spec": spec,
	}}
}

// edit merges YAML into the Shop's spec.
func (s *stage) edit(spec string) {
	s.t.Helper()
	s.patchObject("Shop", "acme", map[string]any{"spec": parse(s.t, spec)})
}

func (s *stage) patchObject(kind, name string, document map[string]any) {
	s.t.Helper()
	known := s.replica.at(s.replica.revision(), key{kind, name})
	if known == nil {
		s.t.Fatalf("there is no %s %s", kind, name)
	}
	s.must(s.user.Patch(s.ctx(), known.DeepCopy(), client.RawPatch(types.MergePatchType, mustMarshal(document))), "change "+kind+" "+name)
}

func (s *stage) delete(kind, name string) {
	s.t.Helper()
	known := s.replica.at(s.replica.revision(), key{kind, name})
	if known == nil {
		s.t.Fatalf("there is no %s %s", kind, name)
	}
	s.must(s.user.Delete(s.ctx(), known.DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationBackground)), "delete "+kind+" "+name)
}

func parse(t testing.TB, document string) map[string]any {
	t.Helper()
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(document), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

func mustMarshal(value any) []byte {
	document, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return document
}

// What is looked at.

// status is the status of a condition of the Shop.
func (s *stage) condition(kind string) metav1.Condition {
	s.t.Helper()
	object := s.replica.at(s.replica.revision(), key{"Shop", "acme"})
	if object == nil {
		s.t.Fatal("there is no Shop")
	}
	acme := as(object, &shopv1.Shop{})
	if err := kubetest.CheckStatus(acme); err != nil && acme.Status.ObservedGeneration > 0 {
		s.t.Errorf("the status breaks the rules: %v", err)
	}
	found := meta.FindStatusCondition(acme.Status.Conditions, kind)
	if found == nil {
		return metav1.Condition{}
	}
	return *found
}

// mustBeReady fails unless the Shop is all its spec asks for.
func (s *stage) mustBeReady() {
	s.t.Helper()
	if ready := s.condition(shopv1.ConditionReady); ready.Status != metav1.ConditionTrue {
		s.t.Fatalf("not Ready: %s: %s; last error: %v", ready.Reason, ready.Message, s.lastError)
	}
}

// judge fails if anything happened that must never happen, or if the operator
// has not come to rest.
func (s *stage) judge() {
	s.t.Helper()
	before := len(s.wire.made())
	_ = s.turn() // what ails the shop for good is in its conditions
	for _, made := range s.wire.made()[before:] {
		if !made.isRead() {
			s.t.Errorf("at rest: %s", made)
		}
	}
	s.wire.mutex.Lock()
	defer s.wire.mutex.Unlock()
	if err := errors.Join(toErrors(s.wire.breaches)...); err != nil {
		s.t.Error(err)
	}
}

func toErrors(texts []string) (all []error) {
	for _, text := range texts {
		all = append(all, errors.New(text))
	}
	return all
}

// picture is every object as it stands, without what differs from run to run by
// its nature: times, identities, random.
func (s *stage) picture() string {
	var names []string
	for _, object := range s.replica.now() {
		name := object.GetName()
		if object.GetKind() == "Job" { // its name has the identity of the volume in it
			name = "migration-to-" + object.GetLabels()[builders.LabelVersion]
			names = append(names, object.GetName(), name)
		}
		names = append(names, string(object.GetUID()), "uid-of-"+object.GetKind()+"-"+name)
		if object.GetKind() == "Secret" {
			data, _, err := unstructured.NestedStringMap(object.Object, "data")
			s.must(err, "read a Secret")
			for name, value := range data {
				if len(value) >= 16 { // a shorter one is no secret, and could be part of a word
					names = append(names, value, "value-of-"+object.GetName()+"-"+name)
				}
			}
		}
	}
	names = append(names, s.namespace, "NAMESPACE")

	var all strings.Builder
	for _, object := range s.replica.now() {
		if object.GetKind() == "Pod" {
			continue
		}
		document, err := yaml.Marshal(timeless(object.DeepCopy().Object))
		s.must(err, "draw a picture")
		fmt.Fprintf(&all, "--- %s\n%s", key{object.GetKind(), object.GetName()}, document)
	}
	text := strings.NewReplacer(names...).Replace(all.String())
	seen := map[string]string{}
	return hashes.ReplaceAllStringFunc(text, func(hash string) string {
		name, _, _ := strings.Cut(hash, ": ")
		if seen[hash] == "" {
			seen[hash] = fmt.Sprintf("%s: hash %d", name, len(seen)+1)
		}
		return seen[hash]
	})
}

// hashes are those of credentials, and of objects with identities in them.
var hashes = regexp.MustCompile(`shopkeeper\.dev/[a-z-]+-hash: \S+`)

// timeless takes times and counts of changes out of a document, and the order in
// which conditions first came.
func timeless(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			switch name {
			case "creationTimestamp", "deletionTimestamp", "resourceVersion", "generation", "observedGeneration", "managedFields",
				"lastTransitionTime", "lastUpdateTime", "since", "startTime", "completionTime", "clusterIP", "clusterIPs", "nodePort":
				delete(value, name)
			default:
				value[name] = timeless(inner)
			}
		}
	case []any:
		for i, inner := range value {
			value[i] = timeless(inner)
		}
		slices.SortStableFunc(value, func(a, b any) int { return cmp.Compare(conditionType(a), conditionType(b)) })
	}
	return value
}

// conditionType is "" for what is no condition.
func conditionType(value any) string {
	fields, _ := value.(map[string]any)
	if kind, ok := fields["type"].(string); ok && fields["reason"] != nil {
		return kind
	}
	return ""
}

// expect compares pictures, and shows where they part.
func (s *stage) expect(want string) {
	s.t.Helper()
	got := s.picture()
	if got == want {
		return
	}
	before, after := strings.Split(want, "\n"), strings.Split(got, "\n")
	var differences []string
	for _, line := range after {
		if !slices.Contains(before, line) {
			differences = append(differences, "+ "+line)
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			differences = append(differences, "- "+line)
		}
	}
	s.t.Errorf("the objects are not those of the undisturbed run:\n%s", cmp.Or(strings.Join(last(differences, 40), "\n"), "the same lines in another order"))
}
