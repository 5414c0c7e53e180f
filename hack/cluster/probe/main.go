// Command probe is the two ends of a connection test:
//
//	probe serve         answers HTTP on :8080 with what it sees; /ws echoes messages
//	probe ws URL HOST   says hello to such an echo, as HOST, and prints the answer
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

const timeout = 5 * time.Second

func main() {
	err := fmt.Errorf("usage: probe serve | probe ws URL HOST")
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		err = serve()
	case len(os.Args) == 4 && os.Args[1] == "ws":
		err = hello(os.Args[2], os.Args[3])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	http.HandleFunc("/ws", echo)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "host=%s proto=%s for=%s\n", r.Host, r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-For"))
	})
	log.Print("serving on :8080")
	server := http.Server{Addr: ":8080", ReadHeaderTimeout: timeout}
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

func hello(url, host string) error {
	dialer := websocket.Dialer{HandshakeTimeout: timeout} // and no proxy
	conn, _, err := dialer.Dial(url, http.Header{"Host": {host}})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", url, err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	_, message, err := conn.ReadMessage()
	if err != nil {
		return fmt.Errorf("wait for the echo: %w", err)
	}
	fmt.Println(string(message))
	return nil
}
