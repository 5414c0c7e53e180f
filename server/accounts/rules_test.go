package accounts

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPasswordFaults(t *testing.T) {
	const (
		likeName  = "The password is too similar to the username."
		likeEmail = "The password is too similar to the email."
		short     = "This password is too short. It must contain at least 8 characters."
		common    = "This password is too common."
		numeric   = "This password is entirely numeric."
	)
	ann := user{Username: "Ann_Shopper", Email: "a.customer@workplace.example"}
	for password, want := range map[string][]string{
		"securepassword123":            nil,
		"correct horse battery staple": nil,
		"пароль-не-простой":            nil,
		"шестьъъъ":                     nil, // 8 characters, more bytes
		"x7#kQ":                        {short},
		"семьбук":                      {short}, // 7 characters, more bytes
		"84375290617":                  {numeric},
		"٣٤٥٦٧٨٩٠":                     {numeric},
		"1234567":                      {short, numeric},
		"password1":                    {common},
		"PassWord1":                    {common},
		"password1 ":                   nil,
		"ann_shopper":                  {likeName},
		"REPPOHS_nna1":                 {likeName},
		"customer1":                    {likeEmail},
		"Workplace!":                   {likeEmail},
		"a.customer@workplace":         {likeEmail},
		"workplaces of another kind":   nil,
	} {
		if got := passwordFaults(password, ann); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", password, got, want)
		}
	}
}

func TestCommonPasswordsAreAllThatIsLeftToRefuse(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(commonPasswords, "\n"), "\n")
	if len(lines) < 2000 {
		t.Fatalf("there are %d common passwords", len(lines))
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) < shortestPassword || line != strings.ToLower(line) || strings.TrimSpace(line) != line {
			t.Errorf("%q can never match", line)
		}
		if faults := passwordFaults(line, user{}); !slices.Equal(faults, []string{"This password is too common."}) {
			t.Errorf("%q: %q", line, faults)
		}
	}
}

func TestLikeness(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want float64
	}{
		{"", "", 0}, {"a", "", 0}, {"abc", "abc", 1}, {"abc", "cba", 1}, {"aab", "abb", 2.0 / 3}, {"abcd", "xyz", 0}, {"äöü", "ÄÖü", 1.0 / 3},
	} {
		if got := likeness(test.a, test.b); got != test.want {
			t.Errorf("%q and %q: %v, want %v", test.a, test.b, got, test.want)
		}
	}
}
