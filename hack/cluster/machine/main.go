// Command machine is the part of a cluster that keeps it alive and reachable:
//
//	machine init NAME                 first process of a node (or of a pod)
//	machine forward LISTEN TARGET     a port of this machine that leads into a node
//
// Every process of it has the same executable, and that is how the scripts find
// what they started: no pid files that could name a stranger.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "init":
		reap()
	case len(os.Args) == 4 && os.Args[1] == "forward":
		log.Fatal(forward(os.Args[2], os.Args[3]))
	default:
		fmt.Fprintln(os.Stderr, "usage: machine init NAME | machine forward LISTEN TARGET")
		os.Exit(2)
	}
}

// reap buries the orphans that the first process of a pid namespace inherits,
// until it is told to end; the kernel then ends all others of the namespace.
func reap() {
	ended, stop := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	for {
		select {
		case <-stop:
			return
		case <-ended: // one signal may stand for many children
			for pid := 1; pid > 0; pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil) {
			}
		}
	}
}

// forward takes connections on listen and joins each to a new one to target.
func forward(listen, target string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go join(client.(*net.TCPConn), target)
	}
}

// join copies both ways. When one side has no more to say the other is told,
// and may still answer; a side that is gone ends both.
func join(client *net.TCPConn, target string) {
	defer client.Close()
	conn, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		log.Printf("reach %s: %v", target, err)
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		pipe(client, server)
	}()
	pipe(server, client)
	<-answered
}

// pipe copies src to dst, then passes the end on; an error closes both.
func pipe(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil {
		src.Close()
		dst.Close()
		return
	}
	dst.CloseWrite()
}
