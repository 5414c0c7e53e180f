package proof

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
	"github.com/shopkeeper-dev/shopkeeper/controllers/kubetest"
)

// base is what every spec that is drawn has. The images of the databases stay as
// they were first made where a spec does not name them, by design.
const base = `{version: 0.1.0, database: {managed: {image: "postgres:17"}}, redis: {managed: {image: "redis:7"}}}`

// TestThereAndBack: of two specs out of the CRD's schema, A after B is A as it
// was before; and a B that does not work harms nothing of A that runs.
func TestThereAndBack(t *testing.T) {
	pairs := 2
	if *every > 0 {
		pairs = 100
	}
	specs := rapid.Custom(func(t *rapid.T) map[string]any { return drawObject(t, specSchema(), "spec", 3) })
	for seed := range pairs {
		t.Run(fmt.Sprint("pair ", seed), func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.others.fails["9.9.9"] = true
			draw := func(seed int) map[string]any {
				return merge(parse(t, base), parse(t, string(mustMarshal(specs.Example(seed)))))
			}
			a, b := draw(2*seed), draw(2*seed+1)
			if s.isRefused(a) {
				a = parse(t, base)
			}
			s.apply(string(mustMarshal(a)))
			s.settle()
			if !s.isFine() {
				a = parse(t, base)
				s.must(s.replace(a), "apply an A that works")
				s.settle()
				s.mustBeReady()
			}
			want, has := s.picture(), s.replica.now()
			if err := s.replace(b, client.DryRunAll); err != nil {
				if !strings.Contains(err.Error(), "spec") {
					t.Errorf("the refusal of %s names no field: %v", mustMarshal(b), err)
				}
				s.judge()
				return
			}
			if err := s.replaceThereAndBack(a, b); err != nil {
				return // A after B is refused: a volume that cannot shrink
			}
			s.judge()
			s.replica.forgetKept(has)
			s.expect(want)
			if t.Failed() {
				t.Logf("A: %s\nB: %s", mustMarshal(a), mustMarshal(b))
			}
		})
	}
}

// replaceThereAndBack applies B, looks what it does to A, and applies A again.
func (s *stage) replaceThereAndBack(a, b map[string]any) error {
	s.t.Helper()
	before := s.running()
	s.must(s.replace(b), "apply B")
	s.settle()
	if s.condition(shopv1.ConditionReady).Status != metav1.ConditionTrue {
		after := s.running()
		for name, uid := range before {
			if after[name] != uid {
				s.t.Errorf("%s is gone or another, though the shop is not Ready: %s", name, s.condition(shopv1.ConditionReady).Message)
			}
		}
	}
	if err := s.replace(a); err != nil {
		return err
	}
	s.settle()
	return nil
}

// isFine reports whether nothing is wrong with the Shop, not even with what it can
// do without.
func (s *stage) isFine() bool {
	s.t.Helper()
	acme := as(s.replica.at(s.replica.revision(), key{"Shop", "acme"}), &shopv1.Shop{})
	return !slices.ContainsFunc(acme.Status.Conditions, func(condition metav1.Condition) bool { return condition.Status != metav1.ConditionTrue })
}

// forgetKept leaves out credentials and data that came since: they outlive what
// asked for them, for they cannot be had again.
func (r *replica) forgetKept(before []*unstructured.Unstructured) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	maps.DeleteFunc(r.last, func(k key, object *unstructured.Unstructured) bool {
		wasThere := slices.ContainsFunc(before, func(old *unstructured.Unstructured) bool { return k == key{old.GetKind(), old.GetName()} })
		return object != nil && !wasThere && k.kind != "Shop" && len(object.GetOwnerReferences()) == 0
	})
}

// running are the children that serve, and the data.
func (s *stage) running() map[string]types.UID {
	all := map[string]types.UID{}
	for _, object := range s.replica.now("Deployment", "StatefulSet", "PersistentVolumeClaim") {
		if object.GetKind() != "Deployment" || *as(object, &appsv1.Deployment{}).Spec.Replicas > 0 {
			all[object.GetKind()+" "+object.GetName()] = object.GetUID()
		}
	}
	return all
}

// isRefused reports whether the API server takes no Shop of that spec.
func (s *stage) isRefused(spec map[string]any) bool {
	return s.user.Create(s.ctx(), s.shopOf(spec), client.DryRunAll) != nil
}

func (s *stage) replace(spec map[string]any, options ...client.UpdateOption) error {
	known := s.replica.at(s.replica.revision(), key{"Shop", "acme"}).DeepCopy()
	known.Object["spec"] = spec
	return s.user.Update(s.ctx(), known, options...)
}

// merge puts one document over another.
func merge(under, over map[string]any) map[string]any {
	for name, value := range over {
		inner, isObject := value.(map[string]any)
		known, wasObject := under[name].(map[string]any)
		if isObject && wasObject {
			value = merge(known, inner)
		}
		under[name] = value
	}
	return under
}

func specSchema() apiextensionsv1.JSONSchemaProps {
	document, err := os.ReadFile(filepath.Join(kubetest.Root(), "config", "crd", "bases", "shopkeeper.dev_shops.yaml"))
	if err != nil {
		panic(err)
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(document, definition); err != nil {
		panic(err)
	}
	return definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
}

// drawObject sets what is required and a few of the other properties.
func drawObject(t *rapid.T, schema apiextensionsv1.JSONSchemaProps, path string, most int) map[string]any {
	names := slices.Sorted(maps.Keys(schema.Properties))
	set := slices.Clone(schema.Required)
	for range rapid.IntRange(1, most).Draw(t, path) {
		set = append(set, rapid.SampledFrom(names).Draw(t, path))
	}
	object := map[string]any{}
	for _, name := range set {
		object[name] = drawValue(t, schema.Properties[name], path+"."+name)
	}
	return object
}

func drawValue(t *rapid.T, schema apiextensionsv1.JSONSchemaProps, path string) any {
	switch {
	case len(schema.Enum) > 0:
		return rapid.SampledFrom(schema.Enum).Draw(t, path)
	case schema.XIntOrString:
		return rapid.SampledFrom([]string{"1", "100m", "64Mi", "2Gi", "20Gi"}).Draw(t, path)
	case len(schema.Properties) > 0:
		return drawObject(t, schema, path, 2)
	case schema.AdditionalProperties != nil:
		name := rapid.SampledFrom([]string{"cpu", "memory", "team", "max_connections"}).Draw(t, path)
		return map[string]any{name: drawValue(t, *schema.AdditionalProperties.Schema, path+".*")}
	case schema.Type == "array":
		var items []any
		for range rapid.IntRange(0, 2).Draw(t, path) {
			items = append(items, drawValue(t, *schema.Items.Schema, path+"[]"))
		}
		return items
	case schema.Type == "boolean":
		return rapid.Bool().Draw(t, path)
	case schema.Type == "integer":
		return rapid.SampledFrom([]int{0, 1, 2, 3, 10, 80, 9000}).Draw(t, path)
	default:
		return drawString(t, path)
	}
}

// words are values that fit properties of some names; others get any.
var words = map[string][]string{
	"version": {"0.1.0", "0.2.0", "9.9.9"}, "repository": {"registry.example.com/shop"}, "image": {"postgres:16", "redis:8"},
	"host": {"shop.example.com", "b.example.com"}, "notificationsHost": {"ws.example.com"}, "email": {"owner@example.com"},
	"accessTokenTTL": {"5m", "1h"}, "refreshTokenTTL": {"24h", "100h"}, "allowedOrigins[]": {"*", "https://shop.example.com"},
	"trustedProxies[]": {"10.1.0.0/16", "10.2.0.0/16"}, "topologyKey": {"kubernetes.io/hostname"}, "effect": {"NoSchedule"}, "operator": {"Exists", "In"},
}

func drawString(t *rapid.T, path string) string {
	name := path[strings.LastIndexByte(path, '.')+1:]
	fitting := words[name]
	if fitting == nil {
		fitting = []string{"a", "b-1", "Not Valid"}
	}
	return rapid.SampledFrom(fitting).Draw(t, path)
}
