// Command probe is the two ends of a connection test, and a WebSocket client:
//
//	probe serve             answers HTTP on :8080 with what it sees; /ws echoes messages
//	probe ws [-token T] [-say TEXT] URL
//	                        prints each message; with -say, sends it and ends at the first answer
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/gorilla/websocket"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: probe serve | probe ws [-token T] [-say TEXT] URL")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve()
	case "ws":
		err = listen(ctx, os.Args[2:])
	default:
		err = fmt.Errorf("no command named %q", os.Args[1])
	}
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func serve() error {
	http.HandleFunc("/ws", echo)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		pod, _ := os.Hostname()
		fmt.Fprintf(w, "pod=%s host=%s path=%s for=%s proto=%s\n",
			pod, r.Host, r.URL.Path, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	})
	server := http.Server{Addr: ":8080", ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}

func echo(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the client was told
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if err := conn.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

// listen prints what arrives, until the server closes or ctx ends.
func listen(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("ws", flag.ExitOnError)
	token := flags.String("token", "", "sent as Authorization: Bearer")
	say := flags.String("say", "", "send this, print one answer and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	header := http.Header{}
	if *token != "" {
		header.Set("Authorization", "Bearer "+*token)
	}
	dialer := websocket.Dialer{HandshakeTimeout: 5 * time.Second} // no proxy: the cluster is local
	conn, response, err := dialer.DialContext(ctx, flags.Arg(0), header)
	if response != nil && err != nil {
		return fmt.Errorf("%w: %s", err, response.Status)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	context.AfterFunc(ctx, func() { conn.Close() })
	if *say != "" {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(*say)); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
	}
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		fmt.Println(string(message))
		if *say != "" {
			return nil
		}
	}
}
