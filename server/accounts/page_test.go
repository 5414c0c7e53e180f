package accounts

import (
	"net/http"
	"strings"
	"testing"
)

func TestResetPage(t *testing.T) {
	forEachEngine(t, func(t *testing.T, s *shop) {
		answer := s.call(t, http.MethodGet, "/auth/api/password/reset/confirm/", "", "")
		answer.want(t, http.StatusOK, resetPage)
		for name, want := range map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"X-Content-Type-Options": "nosniff", "Content-Security-Policy": resetPolicy,
		} {
			if got := answer.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if strings.Contains(resetPolicy, sourceOf("", "script")) || strings.Contains(resetPolicy, "unsafe") {
			t.Errorf("the policy is %s", resetPolicy)
		}
		// Nothing of the page is outside what the policy names, and nothing of it is another host's.
		for _, not := range []string{"<script ", "<style ", "style=", "onclick", "http:", "https:", "innerHTML"} {
			if strings.Contains(resetPage, not) {
				t.Errorf("the page has %s", not)
			}
		}
	})
}
