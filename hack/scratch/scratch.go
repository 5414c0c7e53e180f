// Package scratch gives the servers of a test process folders to live in, and ends them when that process has
// ended, also when it was killed.
package scratch

import (
	"context"
	_ "embed" // the sweeper's script
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

//go:embed sweep.sh
var sweepScript string

// whole is the folder that all servers of this test process live in, and who sweeps it: a process that outlives
// the tests, since a killed one can clean up nothing itself.
type whole struct {
	folder  string
	sweeper *exec.Cmd
	leash   io.Closer // the sweeper sweeps when this is closed, as the kernel does when the tests die
}

var theWhole = sync.OnceValues(func() (*whole, error) {
	folder, err := os.MkdirTemp(home(), "scratch-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // a server's user must pass through
		return nil, err
	}
	sweeper := exec.CommandContext(context.Background(), "sh", "-c", sweepScript, "sweep", folder)
	sweeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := sweeper.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &whole{folder: folder, sweeper: sweeper, leash: leash}, sweeper.Start()
})

// The file system in memory that Linux has, and what must be free there: some servers of some packages at once.
const (
	memory = "/dev/shm"
	room   = 4 << 30 // bytes

	noPrograms = 8 // ST_NOEXEC, statvfs(3)
)

// home is where a test's folder is made: in memory where there is room, since each database is hundreds of small
// files that come and go with a test. It is "", the usual place, where there is none, or TMPDIR says where.
func home() string {
	var system syscall.Statfs_t
	if !testing.Testing() || os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &system) != nil || system.Flags&noPrograms != 0 {
		return ""
	}
	if system.Bavail*uint64(system.Bsize) < room { //nolint:gosec // a size of blocks is positive
		return ""
	}
	return memory
}

// Garbage is how much may gather in tests and what they start, in percent of what is in use, before it is collected:
// they end before it would fill the memory, and to collect it takes a tenth of their time.
const Garbage = 400

// Folder makes a folder for one server, which leaves its process id in a file "pid" there for as long as it runs.
func Folder(name string) (string, error) {
	whole, err := theWhole()
	if err != nil {
		return "", fmt.Errorf("make a scratch folder: %w", err)
	}
	return os.MkdirTemp(whole.folder, name+"-")
}

// Leash writes a program into a folder that is another program, of Go, and leaves its process id there before it is.
func Leash(folder, program string) (path string, err error) {
	path = filepath.Join(folder, filepath.Base(program))
	script := fmt.Sprintf("#!/bin/sh\necho $$ >'%s/pid' && GOGC=%d exec '%s' \"$@\"\n", folder, Garbage, program)
	return path, os.WriteFile(path, []byte(script), 0o700) //nolint:gosec // a program
}

// Sweep ends all servers and removes their folders.
func Sweep() {
	whole, err := theWhole()
	if err != nil {
		return // then no server has started
	}
	_ = whole.leash.Close()
	_ = whole.sweeper.Wait()
}
