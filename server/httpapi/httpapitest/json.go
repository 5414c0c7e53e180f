package httpapitest

import (
	"encoding/json"

	"pgregory.net/rapid"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// Texts are texts of all kinds, among them those that JSON has to escape and some that are no UTF-8.
func Texts() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "Lamp", `"`, `\`, "<&>", "\u2028", "\u2029", "é", "商店", "\x00", "\x7f", "\xff"}))
}

// AsReflected fails unless a value encodes itself as reflection encodes it, which sees it as a type without methods.
func AsReflected(t rapid.TB, own httpapi.JSONAppender, reflected any) {
	t.Helper()
	got, err := httpapi.EncodeJSON(own)
	if err != nil {
		t.Fatal(err)
	}
	want, err := httpapi.EncodeJSON(reflected)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) || !json.Valid(got) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
