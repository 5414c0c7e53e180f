package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
)

const (
	streamTimeout = 15 * time.Minute // for a streamed body, with all that is done with it
	streamIdle    = 30 * time.Second // in which a client has to send, or to take, some of it

	lingerLimit = 4 << 20                // bytes of a refused request that are read and thrown away
	lingerPause = 100 * time.Millisecond // for them to come
)

// readWhole reads bodies before their handlers do, but for those of the streamed paths.
func readWhole(streamed []string) fiber.Handler {
	return func(c *fiber.Ctx) error {
		stream := c.Request().BodyStream()
		switch {
		case stream == nil:
			return c.Next()
		case isOneOf(streamed, c.Path()):
			return passOn(c, stream)
		case c.Request().Header.ContentLength() > bodyLimit:
			return refuseBody(c, stream)
		}
		body, err := io.ReadAll(io.LimitReader(arriving(c, stream), bodyLimit+1))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fiber.ErrRequestTimeout
		case err != nil:
			return BadRequest("The body of the request did not arrive.")
		case len(body) > bodyLimit:
			return refuseBody(c, stream)
		}
		c.Request().SetBodyRaw(body)
		return c.Next()
	}
}

// passOn leaves a body to its handler. Of one that the handler refuses it throws away what is still coming.
func passOn(c *fiber.Ctx, stream io.Reader) error {
	err := c.Next()
	if err != nil || c.Response().StatusCode() >= http.StatusBadRequest {
		linger(c.Context().Conn(), stream)
	}
	return err
}

// refuseBody refuses a body, of which it throws away what the client is still sending.
func refuseBody(c *fiber.Ctx, stream io.Reader) error {
	linger(c.Context().Conn(), stream)
	return fiber.ErrRequestEntityTooLarge
}

// linger reads what a refused client goes on sending, for a moment: closed with bytes unread, the connection
// would be reset, and the client might never see the answer.
func linger(connection net.Conn, rest io.Reader) {
	if connection.SetReadDeadline(time.Now().Add(lingerPause)) == nil {
		_, _ = io.CopyN(io.Discard, rest, lingerLimit)
	}
}

func isOneOf(paths []string, path string) bool {
	for _, one := range paths {
		if strings.EqualFold(strings.TrimSuffix(one, "/"), strings.TrimSuffix(path, "/")) {
			return true
		}
	}
	return false
}

// ReadStream returns the body of a request to one of [Options].Streamed, which may be of any length and come
// for a long time, and a context for what is done with it.
func ReadStream(c *fiber.Ctx) (body io.Reader, ctx context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithTimeout(context.WithoutCancel(c.UserContext()), streamTimeout)
	stream := c.Request().BodyStream()
	if stream == nil {
		return strings.NewReader(string(c.BodyRaw())), ctx, cancel
	}
	return &patientReader{arriving(c, stream), c.Context().Conn()}, ctx, cancel
}

// arrivingReader is a body that ends where the client says and nowhere before. The end of the connection in the
// middle of it is to the library an end like any other.
type arrivingReader struct {
	body    io.Reader
	conn    net.Conn
	chunked bool
	left    int // bytes still to come, if it is not chunked
}

func arriving(c *fiber.Ctx, stream io.Reader) *arrivingReader {
	length := c.Request().Header.ContentLength()
	return &arrivingReader{body: stream, conn: c.Context().Conn(), chunked: length < 0, left: length}
}

// Read reads a piece.
func (r *arrivingReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.left -= n
	if errors.Is(err, io.EOF) && !r.isWhole() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// isWhole tells the end of a body from that of its connection. Of a body in chunks, the library says a second time
// that it has ended, with no time to look at the connection, only if the last chunk has come.
func (r *arrivingReader) isWhole() bool {
	if !r.chunked {
		return r.left <= 0
	}
	if r.conn.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	_, err := r.body.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// patientReader gives a client time for each piece rather than for the whole.
type patientReader struct {
	body io.Reader
	conn net.Conn
}

// errCutOff is in words for the client. Those of the connection name addresses.
var errCutOff = errors.New("the body of the request did not arrive")

// Read reads a piece.
func (r *patientReader) Read(p []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(streamIdle)); err != nil {
		return 0, errCutOff
	}
	n, err := r.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = errCutOff
	}
	return n, err
}

// SendStream answers with what write writes, as it comes. An error after the first bytes can only end the
// connection, which tells the client that the answer is not whole.
func SendStream(c *fiber.Ctx, contentType string, write func(ctx context.Context, w io.Writer) error) error {
	c.Set(fiber.HeaderContentType, contentType)
	if c.Method() == http.MethodHead { // nobody would read it
		c.Response().SetBodyStream(strings.NewReader(""), -1)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.UserContext()), streamTimeout)
	conn := c.Context().Conn()
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer cancel()
		patient := &patientWriter{w, conn}
		if err := write(ctx, patient); err != nil {
			_ = conn.Close()
		}
	})
	return nil
}

type patientWriter struct {
	body *bufio.Writer
	conn net.Conn
}

// Write writes a piece and sends it on.
func (w *patientWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(streamIdle)); err != nil {
		return 0, err
	}
	n, err := w.body.Write(p)
	if err != nil {
		return n, err
	}
	return n, w.body.Flush()
}
