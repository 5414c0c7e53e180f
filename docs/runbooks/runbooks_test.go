// Package runbooks_test sees to it that each alert has its page here, and each page its alert.
package runbooks_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func alerts(t *testing.T) (rules []rule) {
	t.Helper()
	content, err := os.ReadFile("../../config/components/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Kind string `json:"kind"`
		Spec struct {
			Groups []struct {
				Rules []rule `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(content, &object); err != nil || object.Kind != "PrometheusRule" {
		t.Fatalf("the alerts are a %q: %v", object.Kind, err)
	}
	for _, group := range object.Spec.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

func TestEachAlertHasItsPage(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	orphans := map[string]bool{}
	for _, page := range pages {
		orphans[strings.TrimSuffix(page, ".md")] = true
	}
	for _, rule := range alerts(t) {
		if !orphans[rule.Alert] {
			t.Errorf("%s has no page of its own", rule.Alert)
			continue
		}
		delete(orphans, rule.Alert)
		page, err := os.ReadFile(rule.Alert + ".md")
		if err != nil {
			t.Fatal(err)
		}
		for _, heading := range []string{"# " + rule.Alert, "## What it means for users", "## Find the cause", "## Cure"} {
			if !strings.Contains("\n"+string(page), "\n"+heading+"\n\n") {
				t.Errorf("the page of %s has no %q", rule.Alert, heading)
			}
		}
		if !strings.HasSuffix(rule.Annotations["runbook_url"], "/docs/runbooks/"+rule.Alert+".md") || rule.Annotations["summary"] == "" {
			t.Errorf("%s is annotated with %v", rule.Alert, rule.Annotations)
		}
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("the severity of %s is %q", rule.Alert, severity)
		}
	}
	for page := range orphans {
		t.Errorf("%s is the page of no alert", page)
	}
}

// A link from one page leads to another.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, rule := range alerts(t) {
		page, err := os.ReadFile(rule.Alert + ".md")
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(page), "](")[1:] {
			target, _, _ := strings.Cut(part, ")")
			if _, err := fs.Stat(os.DirFS("."), target); err != nil {
				t.Errorf("the page of %s links to %s", rule.Alert, target)
			}
		}
	}
}
