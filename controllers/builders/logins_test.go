package builders

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLoginsCommandMindsTheVolume: it ends, with a word, when there is hardly any
// room, and else gets to its work.
func TestLoginsCommandMindsTheVolume(t *testing.T) {
	for _, volume := range []struct {
		name, kibibytes string // size, used, free
		isFull          bool
	}{
		{"half", "10485760 5242880 5242880", false},
		{"small and full", "10485760 10444800 40960", true},
		{"small and nearly full", "10485760 9437184 1048575", false},
		{"large, with little that is still enough", "1048576000 1047527424 1048576", false},
		{"not to be seen", "", false},
	} {
		t.Run(volume.name, func(t *testing.T) {
			said, err := runLogins(t, volume.kibibytes)
			switch word := "only 40 of 10240 MiB of space left on device\n"; {
			case volume.isFull && (err == nil || said != word), !volume.isFull && !strings.HasSuffix(said, "psql at work\n"):
				t.Errorf("it ends with %v and says %q", err, said)
			}
		})
	}
}

// runLogins runs the command on a volume as df tells of it. psql ends it.
func runLogins(t *testing.T, kibibytes string) (said string, err error) {
	t.Helper()
	folder := t.TempDir()
	for name, script := range map[string]string{
		"df":   "[ -z '" + kibibytes + "' ] || printf '%s\\n' 'Filesystem 1024-blocks Used Available' '/dev/data " + kibibytes + "'",
		"psql": "echo psql at work >&2; kill -TERM $PPID; exit 1",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is to be run
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "sh", "-c", loginsCommand)
	command.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH"), "PGVOLUME=/volume"}
	output, err := command.CombinedOutput()
	return string(output), err
}
