// Package mailtest is a mail server for tests: it takes what it is sent, over the network, and shows it.
package mailtest

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// The login that a server takes.
const (
	User     = "shop"
	Password = "p@ss/w:rd"
)

const timeout = 10 * time.Second

// Letter is a mail that has arrived.
type Letter struct {
	From   string // of the envelope
	To     string // of the envelope
	Login  string // the user that the client logged in as, if it did
	Secure bool   // it came by TLS
	Header mail.Header
	Text   string
}

// Subject is the subject in plain text.
func (l Letter) Subject() string {
	subject, err := new(mime.WordDecoder).DecodeHeader(l.Header.Get("Subject"))
	if err != nil {
		return err.Error()
	}
	return subject
}

// Server is a mail server that ends with its test.
type Server struct {
	Address string // host:port
	letters chan Letter
	refused atomic.Int64
}

// Options say how a server is; the zero one is on the loopback, takes all mail at once and knows no TLS.
type Options struct {
	TLS       *tls.Config // offers STARTTLS
	TLSAtOnce bool        // speaks TLS from the first byte
	Refuse    int64       // as many messages are refused at first, with a temporary error
}

// Start starts a server.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: listener.Addr().String(), letters: make(chan Letter, 1000)}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{server: s, connection: c, refuse: options.Refuse}, nil
	}))
	server.Domain, server.TLSConfig, server.AllowInsecureAuth, server.EnableSMTPUTF8 = "mail.example.com", options.TLS, true, true
	server.ReadTimeout, server.WriteTimeout = timeout, timeout
	server.ErrorLog = log.New(io.Discard, "", 0) // a client that is refused is a test's own affair
	if options.TLSAtOnce {
		listener = tls.NewListener(listener, options.TLS)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close() // of which the server may not know yet, if the test was a short one
		if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("stop the mail server: %v", err)
		}
	})
	return s
}

// URL is that of a client's settings, without a login.
func (s *Server) URL() string { return "smtp://" + s.Address + "?from=shop@example.com" }

// Next waits for a letter.
func (s *Server) Next(t testing.TB) Letter {
	t.Helper()
	select {
	case letter := <-s.letters:
		return letter
	case <-time.After(timeout):
		t.Fatal("no mail has come")
		return Letter{}
	}
}

// None fails the test if a letter has arrived that [Server.Next] has not shown.
func (s *Server) None(t testing.TB) {
	t.Helper()
	select {
	case letter := <-s.letters:
		t.Errorf("a mail to %s has come: %s", letter.To, letter.Subject())
	default:
	}
}

// Refused tells how many messages were refused.
func (s *Server) Refused() int64 { return s.refused.Load() }

type session struct {
	server     *Server
	connection *smtp.Conn
	refuse     int64
	letter     Letter
}

// AuthMechanisms says how a client may log in.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth checks a login.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != User || password != Password {
			return smtp.ErrAuthFailed
		}
		s.letter.Login = username
		return nil
	}), nil
}

// Mail takes the sender.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.letter.From = from
	return nil
}

// Rcpt takes the recipient.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.To = to
	return nil
}

// Data takes the message, unless it is to be refused.
func (s *session) Data(r io.Reader) error {
	if s.server.refused.Load() < s.refuse {
		s.server.refused.Add(1)
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Come again"}
	}
	message, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	body := message.Body
	if strings.EqualFold(message.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	_, s.letter.Secure = s.connection.TLSConnectionState()
	s.letter.Header, s.letter.Text = message.Header, strings.ReplaceAll(string(text), "\r\n", "\n")
	s.server.letters <- s.letter
	return nil
}

// Reset forgets nothing: a test sends one message at a time.
func (s *session) Reset() {}

// Logout ends nothing that needs an end.
func (s *session) Logout() error { return nil }
