// Command reference writes docs/reference.md: every field of a Shop, from the CRD on its standard input,
// which has been made of the types in api/v1alpha1 and their comments.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := write(os.Stdout, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

const head = `# Reference of the Shop

Every field of ` + "`%s`" + `, kind ` + "`%s`" + `. The same from a cluster: ` + "`kubectl explain shop.spec --recursive`" + `.
What is marked *Kubernetes* is as in a pod, and ` + "`kubectl explain`" + ` says the rest of it.

<!-- Made by hack/generate from api/v1alpha1; do not edit. -->
`

func write(to io.Writer, from io.Reader) error {
	document, err := io.ReadAll(from)
	if err != nil {
		return fmt.Errorf("read the CRD: %w", err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(document, crd); err != nil {
		return fmt.Errorf("read the CRD: %w", err)
	}
	version := crd.Spec.Versions[0]
	root := version.Schema.OpenAPIV3Schema
	page := &page{}
	fmt.Fprintf(&page.text, head, crd.Spec.Group+"/"+version.Name, crd.Spec.Names.Kind)
	page.rules(root.XValidations)
	for _, name := range []string{"spec", "status"} {
		page.object(name, root.Properties[name])
	}
	_, err = io.WriteString(to, page.text.String())
	return err
}

// page is the Markdown as far as it is written.
type page struct{ text strings.Builder }

// object writes a section on an object, and then on those in it.
func (p *page) object(path string, schema apiextensionsv1.JSONSchemaProps) {
	fmt.Fprintf(&p.text, "\n## %s\n\n%s\n", path, sentence(schema.Description))
	p.rules(schema.XValidations)
	p.text.WriteString("\n| field | type | default | |\n|---|---|---|---|\n")
	names := slices.Sorted(maps.Keys(schema.Properties))
	for _, name := range names {
		field := schema.Properties[name]
		about := sentence(field.Description)
		if slices.Contains(schema.Required, name) {
			about = "**Required.** " + about
		}
		fmt.Fprintf(&p.text, "| `%s` | %s | %s | %s |\n", name, typeOf(name, field), standard(field), cell(about+bounds(field)))
	}
	for _, name := range names {
		field := schema.Properties[name]
		switch {
		case isForeign(name, field):
		case len(field.Properties) > 0:
			p.object(path+"."+name, field)
		case field.Items != nil && len(field.Items.Schema.Properties) > 0:
			p.object(path+"."+name+"[]", *field.Items.Schema)
		}
	}
}

// rules lists what the API server says when a rule is broken.
func (p *page) rules(rules apiextensionsv1.ValidationRules) {
	if len(rules) == 0 {
		return
	}
	p.text.WriteString("\nThe API server says no with:\n\n")
	for _, rule := range rules {
		fmt.Fprintf(&p.text, "- %s\n", escape(rule.Message))
	}
}

// foreign are the fields whose types are Kubernetes's own.
var foreign = map[string]string{
	"affinity": "Affinity", "env": "[]EnvVar", "resources": "ResourceRequirements", "tolerations": "[]Toleration",
	"clients": "[]NetworkPolicyPeer", "scrapers": "[]NetworkPolicyPeer", "conditions": "[]Condition",
}

func isForeign(name string, field apiextensionsv1.JSONSchemaProps) bool {
	return foreign[name] != "" && (len(field.Properties) > 0 || field.Items != nil)
}

func typeOf(name string, field apiextensionsv1.JSONSchemaProps) string {
	switch {
	case isForeign(name, field):
		return "*Kubernetes* " + foreign[name]
	case field.XIntOrString:
		return "quantity"
	case field.Type == "array":
		return "[]" + typeOf("", *field.Items.Schema)
	case field.Type == "object" && field.AdditionalProperties != nil:
		return "map of " + typeOf("", *field.AdditionalProperties.Schema)
	case field.Format == "date-time":
		return "time"
	default:
		return field.Type
	}
}

// standard is the default of a field that users would write themselves: what an
// object is made of by default stands with its fields.
func standard(field apiextensionsv1.JSONSchemaProps) string {
	if field.Default == nil || string(field.Default.Raw) == "{}" {
		return ""
	}
	text := string(field.Default.Raw)
	var word string
	if json.Unmarshal(field.Default.Raw, &word) == nil {
		text = word
	}
	return "`" + cell(text) + "`"
}

// bounds says what values a field may have.
func bounds(field apiextensionsv1.JSONSchemaProps) string {
	var text strings.Builder
	var values []string
	for _, value := range field.Enum {
		values = append(values, "`"+strings.Trim(string(value.Raw), `"`)+"`")
	}
	if len(values) > 0 {
		fmt.Fprintf(&text, " One of %s.", strings.Join(values, ", "))
	}
	switch {
	case field.Minimum != nil && field.Maximum != nil:
		fmt.Fprintf(&text, " From %.0f to %.0f.", *field.Minimum, *field.Maximum)
	case field.Minimum != nil:
		fmt.Fprintf(&text, " At least %.0f.", *field.Minimum)
	}
	for _, rule := range field.XValidations {
		if len(field.Properties) == 0 { // else its own section says so
			fmt.Fprintf(&text, " *%s.*", strings.TrimSuffix(capital(escape(rule.Message)), "."))
		}
	}
	return text.String()
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// sentence is a description on one line.
func sentence(description string) string {
	return escape(strings.Join(strings.Fields(cmp.Or(description, "-")), " "))
}

// escape keeps Markdown from taking <shop> for a tag.
func escape(text string) string {
	return strings.NewReplacer("<", "&lt;", ">", "&gt;", "*", `\*`).Replace(text)
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
