package main

import (
	"os"
	"strings"
	"testing"
)

func TestEveryFieldIsThere(t *testing.T) {
	crd, err := os.Open("../../config/crd/bases/shopkeeper.dev_shops.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = crd.Close() }()
	var page strings.Builder
	if err := write(&page, crd); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## spec.api.autoscaling\n",
		"| `maxReplicas` | integer |  | **Required.** ",
		"| `rollback` | string | `Manual` | ",
		"One of `Manual`, `Auto`.",
		"| `affinity` | *Kubernetes* Affinity |",
		"- set managed or external, not both\n",
		"## status\n",
		"Secret &lt;shop&gt;-tls",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page.String(), "## spec.api.affinity") {
		t.Error("the page repeats Kubernetes's own documentation")
	}
}

func TestWhatIsNoCRD(t *testing.T) {
	if err := write(&strings.Builder{}, strings.NewReader("a: b")); err == nil {
		t.Error("accepted")
	}
}
