// Package openapi holds the API's description in OpenAPI 3.1. It is written in YAML, for people, and published
// as JSON. Tests hold it against the running server: every route, every status, every body.
package openapi

import (
	_ "embed" // the document
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var source []byte

// Document returns the description as JSON.
func Document() ([]byte, error) {
	var document map[string]any
	if err := yaml.Unmarshal(source, &document); err != nil {
		return nil, fmt.Errorf("read the API's description: %w", err)
	}
	delete(document, "x-answers") // merged into the operations by now
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the API's description: %w", err)
	}
	return append(text, '\n'), nil
}
