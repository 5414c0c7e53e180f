package outbox

import (
	"bytes"
	"testing"
	"time"
)

func FuzzDecode(f *testing.F) {
	whole := Event{UserID: 7, EventID: 12, CreatedAt: time.UnixMicro(1736330400000001).UTC(), Frame: []byte(`{"a b": 1}`)}
	for _, payload := range []string{string(encode(whole)), "", " ", "1 2 3", "1 2 3 ", "1 2", "x 2 3 {}", "1  2 3 {}", "99999999999999999999 1 1 {}"} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		event, err := decode(payload)
		if err != nil {
			return
		}
		again, err := decode(string(encode(event)))
		if err != nil || again.UserID != event.UserID || again.EventID != event.EventID ||
			!again.CreatedAt.Equal(event.CreatedAt) || !bytes.Equal(again.Frame, event.Frame) || again.Origin != event.Origin {
			t.Errorf("%q became %+v, then %+v (%v)", payload, event, again, err)
		}
	})
}

func TestDecodeReadsTheOriginToo(t *testing.T) {
	event := Event{UserID: 7, EventID: 12, CreatedAt: time.UnixMicro(1736330400000001).UTC(), Frame: []byte(`{"a b": 1}`), Origin: "request/7,00-ab-cd-01"}
	payload := string(encode(event))
	if want := `7 12 1736330400000001 request/7,00-ab-cd-01 {"a b": 1}`; payload != want {
		t.Errorf("encoded %q, want %q", payload, want)
	}
	if got, err := decode(payload); err != nil || got.Origin != event.Origin || !bytes.Equal(got.Frame, event.Frame) {
		t.Errorf("decoded %+v (%v), want %+v", got, err, event)
	}
}

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	event := Event{UserID: 7, EventID: 12, CreatedAt: time.UnixMicro(1736330400000001).UTC(), Frame: []byte(`{"a b": 1}`)}
	payload := string(encode(event))
	if want := `7 12 1736330400000001 {"a b": 1}`; payload != want {
		t.Errorf("encoded %q, want %q: pods of another release read it too", payload, want)
	}
	got, err := decode(payload)
	if err != nil || got.UserID != 7 || got.EventID != 12 || !got.CreatedAt.Equal(event.CreatedAt) || !bytes.Equal(got.Frame, event.Frame) {
		t.Errorf("decoded %+v (%v), want %+v", got, err, event)
	}
	for _, bad := range []string{"", "1", "1 2", "x 2 3 {}", "1 2 ", "1  2 3 {}", "1 2 3", "1 2 3 origin", "1 2 3 origin frame"} {
		if event, err := decode(bad); err == nil {
			t.Errorf("decoded %q as %+v", bad, event)
		}
	}
}
