package openapi_test

import (
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/shopkeeper-dev/shopkeeper/server/openapi"
)

func TestTheDocumentIsValid(t *testing.T) {
	text, err := openapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	document, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context(), openapi3.EnableMultiError()); err != nil {
		t.Error(err)
	}
	if !document.IsOpenAPI31OrLater() {
		t.Errorf("it is of version %s", document.OpenAPI)
	}
	for _, path := range document.Paths.InMatchingOrder() {
		for method, operation := range document.Paths.Value(path).Operations() {
			if operation.OperationID == "" || operation.Summary == "" || len(operation.Tags) != 1 {
				t.Errorf("%s %s lacks a name, a summary or a tag", method, path)
			}
			for _, parameter := range slices.Concat(document.Paths.Value(path).Parameters, operation.Parameters) {
				if parameter.Value.Description == "" {
					t.Errorf("%s %s does not say what %s is", method, path, parameter.Value.Name)
				}
			}
		}
	}
}
