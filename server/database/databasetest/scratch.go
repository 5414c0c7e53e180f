package databasetest

import (
	"context"
	_ "embed" // the sweeper's script
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

//go:embed sweep.sh
var sweepScript string

// scratch is the folder that all servers of this test process live in, and who sweeps it: a process
// that outlives the tests, since a killed one can clean up nothing itself.
type scratch struct {
	folder  string
	sweeper *exec.Cmd
	leash   io.Closer // the sweeper sweeps when this is closed, as the kernel does when the tests die
}

var theScratch = sync.OnceValues(func() (*scratch, error) {
	folder, err := os.MkdirTemp("", "databasetest-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // the servers' user must pass through
		return nil, err
	}
	sweeper := exec.CommandContext(context.Background(), "sh", "-c", sweepScript, "sweep", folder)
	sweeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := sweeper.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &scratch{folder: folder, sweeper: sweeper, leash: leash}, sweeper.Start()
})

// newFolder makes a folder in the scratch folder for a server to own.
func newFolder(name string) (string, error) {
	scratch, err := theScratch()
	if err != nil {
		return "", err
	}
	folder, err := os.MkdirTemp(scratch.folder, name+"-")
	if err != nil || os.Getuid() != 0 {
		return folder, err
	}
	return folder, os.Chown(folder, nobody, nobody)
}

// sweep ends all servers and removes their folders.
func sweep() {
	scratch, err := theScratch()
	if err != nil {
		return // then no server has started
	}
	_ = scratch.leash.Close()
	_ = scratch.sweeper.Wait()
}
