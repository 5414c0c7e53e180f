package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// JSONAppender is a value that writes its JSON itself, for one that is encoded too often for reflection.
type JSONAppender interface {
	// AppendJSON appends what [EncodeJSON] would make of the value without this method.
	AppendJSON(body []byte) []byte
}

// EncodeJSON writes a value as JSON with <, > and & as they are.
func EncodeJSON(value any) ([]byte, error) {
	if own, ok := value.(JSONAppender); ok {
		return own.AppendJSON(nil), nil
	}
	return encodeJSON(value)
}

func encodeJSON(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte{'\n'}), nil
}

// AppendJSONText appends a text as [EncodeJSON] writes it.
func AppendJSONText(body []byte, text string) []byte {
	if isPlain(text) {
		return append(append(append(body, '"'), text...), '"')
	}
	encoded, _ := encodeJSON(text) // texts have no errors
	return append(body, encoded...)
}

// isPlain reports whether a text is in JSON as it is.
func isPlain(text string) bool {
	ascii := true
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ' || c == '"' || c == '\\':
			return false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return ascii || utf8.ValidString(text) && !strings.ContainsAny(text, "\u2028\u2029")
}
