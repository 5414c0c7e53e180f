package main

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	const good = `
apiVersion: v1
kind: ConfigMap
metadata: {name: good, namespace: made-for-it}
---
# A document of comments alone.
---
apiVersion: v1
kind: Secret
metadata: {name: good}
`
	cases := map[string]struct {
		manifests string
		objects   int
		complaint string
	}{
		"nothing":            {"", 0, ""},
		"good":               {good, 2, ""},
		"a field unknown":    {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {}\n", 1, "date"},
		"a value not valid":  {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A_b}\n", 1, "ConfigMap A_b"},
		"a kind not known":   {"apiVersion: v1\nkind: Confetti\nmetadata: {name: a}\n", 1, "Confetti"},
		"not YAML":           {"apiVersion: [", 0, "read manifest 1"},
		"two things are bad": {"apiVersion: v1\nkind: Confetti\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: A_b}\n", 2, "ConfigMap A_b"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			objects, err := check(strings.NewReader(c.manifests))
			if objects != c.objects {
				t.Errorf("%d objects, want %d", objects, c.objects)
			}
			switch {
			case c.complaint == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.complaint != "" && (err == nil || !strings.Contains(err.Error(), c.complaint)):
				t.Errorf("got error %v, want one that names %q", err, c.complaint)
			}
		})
	}
}
