package proof

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestRights: with config/rbac the operator's ServiceAccount may do what the
// scripts of this package do, for they run as it; and here is what it may not.
func TestRights(t *testing.T) {
	s := newStage(t)
	for _, forbidden := range []string{
		"create shops.shopkeeper.dev", "update shops.shopkeeper.dev", "delete shops.shopkeeper.dev", "update shops/scale.shopkeeper.dev",
		"create pods", "update pods", "create pods/exec", "create pods/attach", "create pods/portforward", "create pods/ephemeralcontainers",
		"deletecollection secrets", "update secrets", "create persistentvolumeclaims", "delete persistentvolumes", "create serviceaccounts/token",
		"list nodes", "patch nodes", "get nodes/proxy", "create namespaces", "delete namespaces",
		"impersonate users", "impersonate serviceaccounts", "create certificatesigningrequests.certificates.k8s.io",
		"create roles.rbac.authorization.k8s.io", "escalate roles.rbac.authorization.k8s.io", "bind clusterroles.rbac.authorization.k8s.io",
		"create rolebindings.rbac.authorization.k8s.io", "create clusterrolebindings.rbac.authorization.k8s.io",
		"create customresourcedefinitions.apiextensions.k8s.io", "create mutatingwebhookconfigurations.admissionregistration.k8s.io",
		"create daemonsets.apps", "* *", "* *.*",
	} {
		if s.may(forbidden) {
			t.Errorf("the operator may %s", forbidden)
		}
	}
	for _, needed := range []string{"list shops.shopkeeper.dev", "patch shops/status.shopkeeper.dev", "patch deployments.apps", "delete jobs.batch"} {
		if !s.may(needed) {
			t.Errorf("the operator may not %s", needed)
		}
	}
}

// may asks the API server about "VERB RESOURCE[/SUBRESOURCE][.GROUP]".
func (s *stage) may(what string) bool {
	s.t.Helper()
	verb, resource, _ := strings.Cut(what, " ")
	resource, group, _ := strings.Cut(resource, ".")
	resource, subresource, _ := strings.Cut(resource, "/")
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
		"spec": map[string]any{
			"user": operatorUser, "groups": []any{"system:serviceaccounts", "system:authenticated"},
			"resourceAttributes": map[string]any{"namespace": s.namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource},
		},
	}}
	s.must(s.admin.Create(s.ctx(), review), "ask for a right")
	allowed, _, err := unstructured.NestedBool(review.Object, "status", "allowed")
	s.must(err, "read the answer")
	return allowed
}
