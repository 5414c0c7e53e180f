package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// fleet is many open sockets, each with a goroutine that reads it.
type fleet struct {
	received atomic.Int64
	onFrame  atomic.Pointer[func(user int, frame []byte)]
	reading  sync.WaitGroup
	sockets  []net.Conn // by user, from 1
}

func newFleet(users int) *fleet {
	f := &fleet{sockets: make([]net.Conn, users+1)}
	f.watch(func(int, []byte) {})
	return f
}

func (f *fleet) watch(onFrame func(user int, frame []byte)) { f.onFrame.Store(&onFrame) }

// dial opens the nth connection. Source addresses take turns, since each has ports for some 28,000.
func dial(ctx context.Context, address string, n int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n%8))}} //nolint:gosec // 2 to 9
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return connection, nil
}

// open opens the socket of a user.
func (f *fleet) open(ctx context.Context, address string, user int, token string) error {
	connection, err := dial(ctx, address, user)
	if err != nil {
		return err
	}
	f.sockets[user] = connection
	_, err = fmt.Fprintf(connection, "GET /ws/notifications/%d/ HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: bearer, %s\r\n\r\n", user, token)
	if err != nil {
		return fmt.Errorf("ask for an upgrade: %w", err)
	}
	reader := bufio.NewReaderSize(connection, 512)
	status, err := reader.ReadString('\n')
	if err != nil || status != "HTTP/1.1 101 Switching Protocols\r\n" {
		return fmt.Errorf("the upgrade of user %d was answered %q: %w", user, status, err)
	}
	for line := status; line != "\r\n"; {
		if line, err = reader.ReadString('\n'); err != nil {
			return fmt.Errorf("read the answer to an upgrade: %w", err)
		}
	}
	f.reading.Go(func() { f.read(user, reader) })
	return nil
}

// read takes frames until the socket ends. Those of the server are short and bear no mask.
func (f *fleet) read(user int, reader *bufio.Reader) {
	var header [4]byte
	for {
		if _, err := io.ReadFull(reader, header[:2]); err != nil {
			return
		}
		size := int(header[1])
		if size == 126 {
			if _, err := io.ReadFull(reader, header[2:]); err != nil {
				return
			}
			size = int(binary.BigEndian.Uint16(header[2:]))
		}
		frame := make([]byte, size)
		if _, err := io.ReadFull(reader, frame); err != nil {
			return
		}
		if header[0] == 0x81 { // a text, not a ping
			(*f.onFrame.Load())(user, frame)
			f.received.Add(1)
		}
	}
}

// await waits until the fleet has received so many frames.
func (f *fleet) await(ctx context.Context, total int64) error {
	for f.received.Load() < total {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d notifications arrived: %w", f.received.Load(), total, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// close ends the sockets of the users after the first few.
func (f *fleet) close(after int) {
	for user := after + 1; user < len(f.sockets); user++ {
		if f.sockets[user] != nil {
			_ = f.sockets[user].Close() // nothing is left to lose
			f.sockets[user] = nil
		}
	}
	if after == 0 {
		f.reading.Wait()
	}
}

// number reads the order_id of a frame.
func number(frame []byte) int64 {
	const before = `{"type":"order_notification","order_id":`
	end := len(before)
	for end < len(frame) && frame[end] >= '0' && frame[end] <= '9' {
		end++
	}
	n, _ := strconv.ParseInt(string(frame[min(len(before), len(frame)):end]), 10, 64) // 0 is no order's
	return n
}
