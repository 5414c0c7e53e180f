package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/mail/mailtest"
)

var letter = Message{To: "straße@example.com", Subject: "Grüße", Text: "Hello,\n\nthis is " + strings.Repeat("a long line ", 20) + "\n.\nund Grüße\n"}

func open(t *testing.T, url string) *SMTP {
	t.Helper()
	sender, err := Open(url)
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

func TestSend(t *testing.T) {
	server := mailtest.Start(t, mailtest.Options{})
	sender := open(t, "smtp://"+server.Address+"?from=The+Shop+%3Cshop@example.com%3E")
	if err := sender.Send(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	got := server.Next(t)
	if got.From != "shop@example.com" || got.To != letter.To || got.Subject() != letter.Subject || got.Text != letter.Text {
		t.Errorf("got %+v", got)
	}
	for name, want := range map[string]string{
		"From": `"The Shop" <shop@example.com>`, "Auto-Submitted": "auto-generated",
		"Content-Type": "text/plain; charset=UTF-8", "User-Agent": "", "X-Mailer": "",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("%s is %q, want %q", name, value, want)
		}
	}
	if id := got.Header.Get("Message-Id"); !strings.HasSuffix(id, "@example.com>") {
		t.Errorf("the message's id is %s", id)
	}
	if when, err := got.Header.Date(); err != nil || time.Since(when).Abs() > time.Minute {
		t.Errorf("the date is %s, %v", when, err)
	}
}

// certificate is one for example.com, and the pool that trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12}, pool
}

// at makes a sender for a host of another name reach a test's server, whose certificate it trusts or not.
func (s *SMTP) at(server *mailtest.Server, trusted *x509.CertPool) *SMTP {
	s.tls.RootCAs = trusted
	there := s.dial
	s.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return there(ctx, network, server.Address)
	}
	return s
}

func TestPasswordGoesOverTLSAlone(t *testing.T) {
	config, pool := certificate(t)
	const login = mailtest.User + ":p%40ss%2Fw%3Ard@"
	for name, test := range map[string]struct {
		url     string
		server  mailtest.Options
		trusted *x509.CertPool
		want    string // in the error; empty for none
		login   string
		secure  bool
	}{
		"STARTTLS":                    {"smtp://" + login + "example.com", mailtest.Options{TLS: config}, pool, "", mailtest.User, true},
		"TLS at once":                 {"smtps://" + login + "example.com", mailtest.Options{TLS: config, TLSAtOnce: true}, pool, "", mailtest.User, true},
		"no login, STARTTLS":          {"smtp://example.com", mailtest.Options{TLS: config}, pool, "", "", true},
		"no login, no TLS":            {"smtp://example.com", mailtest.Options{}, pool, "", "", false},
		"a login, no TLS":             {"smtp://" + login + "example.com", mailtest.Options{}, pool, "does not support STARTTLS", "", false},
		"a login, on this machine":    {"smtp://" + login + "localhost", mailtest.Options{TLS: config}, nil, "", mailtest.User, false},
		"a bad password":              {"smtps://shop:hush@example.com", mailtest.Options{TLS: config, TLSAtOnce: true}, pool, "AUTH failed", "", false},
		"a stranger's certificate":    {"smtps://" + login + "example.com", mailtest.Options{TLS: config, TLSAtOnce: true}, x509.NewCertPool(), "certificate", "", false},
		"a stranger after STARTTLS":   {"smtp://example.com", mailtest.Options{TLS: config}, x509.NewCertPool(), "certificate", "", false},
		"a certificate of another":    {"smtps://" + login + "mail.other.org", mailtest.Options{TLS: config, TLSAtOnce: true}, pool, "certificate", "", false},
		"plain text where TLS is due": {"smtps://" + login + "example.com", mailtest.Options{}, pool, "TLS handshake", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := mailtest.Start(t, test.server)
			err := open(t, test.url+"?from=shop@example.com").at(server, test.trusted).Send(t.Context(), letter)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hush") {
					t.Errorf("got %v, want %s", err, test.want)
				}
				server.None(t)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := server.Next(t); got.Login != test.login || got.Secure != test.secure {
				t.Errorf("logged in as %q, secure %t", got.Login, got.Secure)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"":                 errURL.Error(),
		"mail.example.com": errURL.Error(),
		"http://mail.example.com?from=a@b.example":          errURL.Error(),
		"smtp://?from=a@b.example":                          errURL.Error(),
		"smtp://user:hush@mail:port?from=a@b.example":       errURL.Error(),
		"smtp://mail/inbox?from=a@b.example":                errURL.Error(),
		"smtp://user:hush@mail":                             "its from is not an email address",
		"smtp://mail?from=shop":                             "its from is not an email address",
		"smtp://mail?from=a@b.example%0D%0ABcc:c@d.example": "its from is not an email address",
	} {
		if _, err := Open(url); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", url, err, want)
		}
	}
}

func TestDefaultPorts(t *testing.T) {
	for scheme, want := range map[string]string{"smtp": "mail.example.com:587", "smtps": "mail.example.com:465"} {
		sender := open(t, scheme+"://mail.example.com?from=shop@example.com")
		var got string
		sender.dial = func(_ context.Context, _, address string) (net.Conn, error) {
			got = address
			return nil, errors.New("no further")
		}
		if err := sender.Send(t.Context(), letter); err == nil || got != want {
			t.Errorf("%s: dialed %q, %v; want %s", scheme, got, err, want)
		}
	}
}

func TestNoHeaderCanBeInjected(t *testing.T) {
	server := mailtest.Start(t, mailtest.Options{})
	sender := open(t, server.URL())
	for _, to := range []string{"", "a", "a@b.example\r\nRCPT TO:<c@d.example>", "a@b.example, c@d.example"} {
		if err := sender.Send(t.Context(), Message{To: to}); err == nil {
			t.Errorf("a mail to %q was sent", to)
		}
	}
	server.None(t)
	subject := "a\r\nBcc: c@d.example\r\n\r\nb"
	if err := sender.Send(t.Context(), Message{To: "a@b.example", Subject: subject, Text: "c"}); err != nil {
		t.Fatal(err)
	}
	if got := server.Next(t); got.Header.Get("Bcc") != "" || strings.TrimSpace(got.Text) != "c" {
		t.Errorf("the header is %v, the text %q", got.Header, got.Text)
	}
}

func TestSilentServerHoldsNobodyForLong(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	started := time.Now()
	err = open(t, "smtp://"+listener.Addr().String()+"?from=shop@example.com").Send(ctx, letter)
	if took := time.Since(started); err == nil || took > 5*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
}

func TestLog(t *testing.T) {
	var text bytes.Buffer
	if err := (Log{slog.New(slog.NewTextHandler(&text, nil))}).Send(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{letter.To, letter.Subject, "a long line"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%s is not in %s", want, text.String())
		}
	}
}
