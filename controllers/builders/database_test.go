package builders

import "testing"

func TestIsOtherMajor(t *testing.T) {
	for _, c := range []struct {
		one, other string
		isOther    bool
	}{
		{"docker.io/library/postgres:17", "docker.io/library/postgres:17.6", false},
		{"docker.io/library/postgres:17", "docker.io/library/postgres:18-alpine", true},
		{"localhost:5000/pg:16.1-bookworm@sha256:abc", "postgres:17", true},
		{"postgres:17", "postgres", false},
		{"postgres:17", "postgres@sha256:abc", false},
		{"localhost:5000/pg", "postgres:17", false},
		{"postgres:17", "", false},
		{"postgres:17", "postgres:latest", false},
		{"mine:3.1", "mine:4.0", false}, // versions of something else
		{"mine:2026.1", "mine:2027.1", false},
	} {
		if got := IsOtherMajor(c.one, c.other); got != c.isOther {
			t.Errorf("%s and %s: %t", c.one, c.other, got)
		}
	}
}
