package main

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Setenv("RELATED_IMAGE_SERVER", "localhost/server")
	t.Setenv("RELATED_IMAGE_REDIS", "localhost/redis:7")
	options, err := parse([]string{"--watch-namespaces", "a, b,", "--redis-image=redis:8", "--log-level=debug", "--leader-elect", "--metrics-secure=false",
		"--watch-label-selector=shard in (a, b)"}, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(options.namespaces, []string{"a", "b"}) || !options.leaderElect || options.metricsSecure || options.shops.String() != "shard in (a,b)" {
		t.Errorf("options %+v", options)
	}
	defaults := options.defaults
	if defaults.Version != version || defaults.ServerImage != "localhost/server" || defaults.PostgresImage != "docker.io/library/postgres:17" || defaults.RedisImage != "redis:8" {
		t.Errorf("defaults %+v", defaults)
	}
}

func TestParseRefuses(t *testing.T) {
	for arguments, message := range map[string]string{
		"--concurrency=0":              "--concurrency 0: must be at least 1",
		"--log-format=loud":            `--log-format "loud": must be json or text`,
		"--log-level=loud":             "log-level",
		"--watch-label-selector=a=b=c": "--watch-label-selector: ",
		"--colour=red":                 "flag provided but not defined: -colour",
		"run":                          `unexpected argument "run"`,
	} {
		if _, err := parse([]string{arguments}, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: error %v, want %s", arguments, err, message)
		}
	}
}

func TestHelp(t *testing.T) {
	var usage strings.Builder
	if _, err := parse([]string{"--help"}, &usage); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error %v", err)
	}
	for _, part := range []string{"Usage: shopkeeper-operator [flags]", "--server-image repository\n", "(RELATED_IMAGE_SERVER) (default ghcr.io/shopkeeper-dev/server)", "--leader-elect\n"} {
		if !strings.Contains(usage.String(), part) {
			t.Errorf("the usage has no %q:\n%s", part, usage.String())
		}
	}
}
