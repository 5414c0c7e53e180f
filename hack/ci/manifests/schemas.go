package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// definitions are the schemas of an OpenAPI document, by name.
type definitions map[string]any

const reference = "#/components/schemas/"

// writeSchemas writes the JSON schema of each kind among the objects, as the API server describes it, to
// folder/GROUP/VERSION/KIND.json; kubeconform takes the core's version for its group. They allow no field that the API server does not name.
func writeSchemas(ctx context.Context, config *rest.Config, objects []*unstructured.Unstructured, folder string) error {
	openAPI, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	written := map[schema.GroupVersionKind]bool{}
	for _, object := range objects {
		kind := object.GroupVersionKind()
		if written[kind] {
			continue
		}
		written[kind] = true
		described, err := awaitSchema(ctx, openAPI, kind)
		if err != nil {
			return err
		}
		file := filepath.Join(folder, cmp.Or(kind.Group, kind.Version), kind.Version, strings.ToLower(kind.Kind)+".json")
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(file, described, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// awaitSchema waits a while: the API server describes a new kind a moment after it serves it.
func awaitSchema(ctx context.Context, openAPI discovery.OpenAPIV3SchemaInterface, kind schema.GroupVersionKind) (described []byte, err error) {
	awaited := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		described, err = schemaOf(openAPI, kind)
		return err == nil, nil
	})
	if awaited != nil {
		return nil, errors.Join(fmt.Errorf("no description of %s: %w", kind, awaited), err)
	}
	return described, nil
}

func schemaOf(openAPI discovery.OpenAPIV3SchemaInterface, kind schema.GroupVersionKind) ([]byte, error) {
	paths, err := openAPI.OpenAPIV3().Paths()
	if err != nil {
		return nil, err
	}
	path := "apis/" + kind.GroupVersion().String()
	if kind.Group == "" {
		path = "api/" + kind.Version
	}
	if paths[path] == nil {
		return nil, fmt.Errorf("the API server describes no %s", path)
	}
	document, err := paths[path].Schema("application/json")
	if err != nil {
		return nil, err
	}
	openapi := struct {
		Components struct {
			Schemas definitions `json:"schemas"`
		} `json:"components"`
	}{}
	if err := json.Unmarshal(document, &openapi); err != nil {
		return nil, err
	}
	return openapi.Components.Schemas.standalone(kind)
}

// standalone is the schema of a kind together with those it refers to.
func (d definitions) standalone(kind schema.GroupVersionKind) ([]byte, error) {
	for name, definition := range d {
		if describes(definition, kind) {
			needed := definitions{}
			d.collect(name, needed)
			return json.Marshal(map[string]any{
				"$schema":    "http://json-schema.org/draft-07/schema#",
				"$ref":       reference + name,
				"components": map[string]any{"schemas": needed},
			})
		}
	}
	return nil, fmt.Errorf("the API server describes no %s", kind)
}

func describes(definition any, kind schema.GroupVersionKind) bool {
	object, _ := definition.(map[string]any)
	kinds, _ := object["x-kubernetes-group-version-kind"].([]any)
	return slices.ContainsFunc(kinds, func(one any) bool {
		names, _ := one.(map[string]any)
		return names["group"] == kind.Group && names["version"] == kind.Version && names["kind"] == kind.Kind
	})
}

// collect adds a definition, made strict, and all that it refers to.
func (d definitions) collect(name string, needed definitions) {
	if needed[name] != nil {
		return
	}
	needed[name] = strict(d[name])
	eachReference(d[name], func(name string) { d.collect(name, needed) })
}

func eachReference(value any, visit func(name string)) {
	switch value := value.(type) {
	case map[string]any:
		if target, ok := value["$ref"].(string); ok {
			visit(strings.TrimPrefix(target, reference))
		}
		for _, inner := range value {
			eachReference(inner, visit)
		}
	case []any:
		for _, inner := range value {
			eachReference(inner, visit)
		}
	}
}

// strict closes every object that says what fields it has.
func strict(value any) any {
	switch value := value.(type) {
	case map[string]any:
		closed := maps.Clone(value)
		for key, inner := range closed {
			closed[key] = strict(inner)
		}
		_, lists := closed["properties"].(map[string]any)
		_, saysMore := closed["additionalProperties"]
		open, _ := closed["x-kubernetes-preserve-unknown-fields"].(bool)
		if lists && !saysMore && !open {
			closed["additionalProperties"] = false
		}
		return closed
	case []any:
		closed := slices.Clone(value)
		for i := range closed {
			closed[i] = strict(closed[i])
		}
		return closed
	default:
		return value
	}
}
