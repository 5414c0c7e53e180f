package apply

import (
	"encoding/json"
	"testing"
)

func TestContains(t *testing.T) {
	for _, test := range []struct {
		name, actual, wanted string
		want                 bool
	}{
		{"the same", `{"a":1}`, `{"a":1}`, true},
		{"more than wanted", `{"a":1,"b":{"c":2}}`, `{"b":{"c":2}}`, true},
		{"another value", `{"a":1}`, `{"a":2}`, false},
		{"missing", `{}`, `{"a":1}`, false},
		{"missing deep down", `{"a":{}}`, `{"a":{"b":{"c":"x"}}}`, false},
		{"another shape", `{"a":"x"}`, `{"a":{"b":1}}`, false},
		{"a zero that JSON leaves out", `{}`, `{"a":0,"b":false,"c":"","d":{},"e":[]}`, true},
		{"a zero that is another value", `{"a":1}`, `{"a":0}`, false},
		{"an empty object is there", `{"emptyDir":{}}`, `{"emptyDir":{}}`, true},
		{"an element of others", `{"env":[{"name":"x"},{"name":"y","value":"1"}]}`, `{"env":[{"name":"y","value":"1"}]}`, true},
		{"an element of ours gone", `{"env":[{"name":"x"}]}`, `{"env":[{"name":"y","value":"1"}]}`, false},
		{"an element of ours changed", `{"env":[{"name":"y","value":"2"}]}`, `{"env":[{"name":"y","value":"1"}]}`, false},
		{"elements with defaults", `{"ports":[{"port":1,"protocol":"TCP"}]}`, `{"ports":[{"port":1}]}`, true},
		{"an atomic list, with defaults", `{"rules":[{"host":"a","x":1}]}`, `{"rules":[{"host":"a"}]}`, true},
		{"an atomic list that grew", `{"args":["a","b"]}`, `{"args":["a"]}`, false},
		{"an atomic list that shrank", `{"args":["a"]}`, `{"args":["a","b"]}`, false},
		{"an atomic list in another order", `{"args":["b","a"]}`, `{"args":["a","b"]}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var actual, wanted any
			if err := json.Unmarshal([]byte(test.actual), &actual); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(test.wanted), &wanted); err != nil {
				t.Fatal(err)
			}
			if got := contains(actual, wanted, ""); got != test.want {
				t.Errorf("contains(%s, %s) is %t", test.actual, test.wanted, got)
			}
		})
	}
}
