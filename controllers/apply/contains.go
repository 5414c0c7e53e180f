package apply

import "reflect"

// associative are the lists whose elements Server-Side Apply merges by a key,
// so that others may add elements of their own. Any other list has one owner
// and is compared as a whole.
var associative = map[string]bool{
	"containers":                true,
	"env":                       true,
	"imagePullSecrets":          true,
	"initContainers":            true,
	"ownerReferences":           true,
	"ports":                     true,
	"topologySpreadConstraints": true,
	"volumeMounts":              true,
	"volumes":                   true,
}

// contains reports whether the actual value has everything that the wanted one
// says; what else it has is others' business. field is the name of the field
// that both are the value of. Both come out of JSON made by Go's API types,
// which writes equal quantities, durations and times the same way.
func contains(actual, wanted any, field string) bool {
	switch wanted := wanted.(type) {
	case map[string]any:
		return containsMap(actual, wanted)
	case []any:
		return containsList(actual, wanted, field)
	default:
		return reflect.DeepEqual(actual, wanted) || actual == nil && isZero(wanted)
	}
}

func containsMap(actual any, wanted map[string]any) bool {
	fields, ok := actual.(map[string]any)
	if !ok && actual != nil {
		return false
	}
	for name, value := range wanted {
		if !contains(fields[name], value, name) {
			return false
		}
	}
	return true
}

func containsList(actual any, wanted []any, field string) bool {
	elements, ok := actual.([]any)
	if !ok && actual != nil {
		return false
	}
	if associative[field] {
		for _, value := range wanted {
			if !hasElement(elements, value) {
				return false
			}
		}
		return true
	}
	if len(elements) != len(wanted) {
		return false
	}
	for i, value := range wanted {
		if !contains(elements[i], value, "") {
			return false
		}
	}
	return true
}

func hasElement(elements []any, wanted any) bool {
	for _, element := range elements {
		if contains(element, wanted, "") {
			return true
		}
	}
	return false
}

// isZero tells the values that JSON of Go's API types leaves out.
func isZero(value any) bool {
	return value == nil || reflect.ValueOf(value).IsZero()
}
