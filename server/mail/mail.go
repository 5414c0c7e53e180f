// Package mail sends the shop's mail by SMTP, or shows it in the log of a server under development.
package mail

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	smtp "github.com/wneessen/go-mail"
)

// deadline is for one message, from the connection's first packet to the server's word that it has it.
const deadline = 20 * time.Second

// Ports of RFC 6409, for smtp, and of RFC 8314, for smtps.
const (
	submissionPort    = 587
	submissionTLSPort = 465
)

// Message is a mail in plain text.
type Message struct {
	To      string // one address
	Subject string
	Text    string
}

// Sender takes a message to its recipient's mail server, or as near to it as it can.
type Sender interface {
	Send(ctx context.Context, message Message) error
}

// errURL does not quote the URL: it may hold a password.
var errURL = errors.New("not of the form smtp://[user:password@]host[:port]?from=address, or smtps://…")

// SMTP sends by one mail server. It is safe for concurrent use.
type SMTP struct {
	from    mail.Address
	host    string
	options []smtp.Option
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	tls     *tls.Config
}

// Open reads a URL such as smtp://user:password@mail.example.com:587?from=shop@example.com and contacts
// nobody yet. smtps is TLS from the first byte; smtp is TLS as soon as the server offers it, and a password
// goes over nothing else. A server of this machine itself is trusted without.
func Open(rawURL string) (*SMTP, error) {
	parsed, err := url.Parse(rawURL)
	if err != nil || parsed.Hostname() == "" || strings.Trim(parsed.Path, "/") != "" || parsed.Scheme != "smtp" && parsed.Scheme != "smtps" {
		return nil, errURL
	}
	from, err := mail.ParseAddress(parsed.Query().Get("from"))
	if err != nil {
		return nil, errors.New("its from is not an email address")
	}
	s := &SMTP{
		from: *from, host: parsed.Hostname(),
		tls: &tls.Config{ServerName: parsed.Hostname(), MinVersion: tls.VersionTLS12},
	}
	port := submissionPort
	plain := &net.Dialer{}
	s.dial = plain.DialContext
	if parsed.Scheme == "smtps" {
		port = submissionTLSPort
		s.dial = (&tls.Dialer{NetDialer: plain, Config: s.tls}).DialContext
	}
	if text := parsed.Port(); text != "" {
		if port, err = strconv.Atoi(text); err != nil {
			return nil, errURL
		}
	}
	s.options = append(protection(parsed), smtp.WithPort(port), smtp.WithTLSConfig(s.tls), smtp.WithTimeout(deadline))
	return s, nil
}

// protection says when to speak TLS and how to log in.
func protection(server *url.URL) []smtp.Option {
	policy := smtp.TLSOpportunistic
	if server.User != nil {
		policy = smtp.TLSMandatory
	}
	if isLoopback(server.Hostname()) {
		policy = smtp.NoTLS
	}
	options := []smtp.Option{smtp.WithTLSPolicy(policy)}
	if server.Scheme == "smtps" {
		options = []smtp.Option{smtp.WithSSL()}
	}
	if server.User != nil {
		password, _ := server.User.Password()
		options = append(options, smtp.WithUsername(server.User.Username()), smtp.WithPassword(password),
			smtp.WithOpportunisticSMTPAuth(smtp.SMTPAuthSCRAMSHA256, smtp.SMTPAuthSCRAMSHA1, smtp.SMTPAuthPlain, smtp.SMTPAuthLogin))
	}
	return options
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// Send hands a message to the mail server, in 20 seconds at most.
func (s *SMTP) Send(ctx context.Context, message Message) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	letter, err := s.compose(message)
	if err != nil {
		return err
	}
	// The library's own deadlines are for each step: the connection goes with the context, whatever happens.
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		connection, err := s.dial(ctx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = connection.Close() })
		}
		return connection, err
	}
	client, err := smtp.NewClient(s.host, append([]smtp.Option{smtp.WithDialContextFunc(dial)}, s.options...)...)
	if err != nil {
		return fmt.Errorf("prepare to send mail by %s: %w", s.host, err)
	}
	err = client.DialAndSendWithContext(ctx, letter)
	if err != nil && !letter.IsDelivered() { // a farewell that fails is nobody's loss
		return fmt.Errorf("send mail by %s: %w", s.host, err)
	}
	return nil
}

func (s *SMTP) compose(message Message) (*smtp.Msg, error) {
	letter := smtp.NewMsg(smtp.WithNoDefaultUserAgent())
	letter.FromMailAddress(&s.from)
	if err := letter.To(message.To); err != nil {
		return nil, fmt.Errorf("address a mail: %w", err)
	}
	_, domain, _ := strings.Cut(s.from.Address, "@")
	letter.SetMessageIDWithValue(rand.Text() + "@" + domain)
	letter.SetDate()
	letter.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no answering machine answers it
	letter.Subject(message.Subject)
	letter.SetBodyString(smtp.TypeTextPlain, message.Text)
	return letter, nil
}

// Log shows messages in the log instead of sending them. What is in a message is for its recipient's eyes,
// so this is for a server that has no other users than its developer.
type Log struct{ To *slog.Logger }

// Send logs a message.
func (l Log) Send(ctx context.Context, message Message) error {
	l.To.InfoContext(ctx, "mail is logged, for SHOP_SMTP_URL is not set", "to", message.To, "subject", message.Subject, "text", message.Text)
	return nil
}
