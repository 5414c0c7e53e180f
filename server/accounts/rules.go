package accounts

import (
	_ "embed" // the list of common passwords
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
)

// Lengths in characters.
const (
	nameLength    = 150
	phoneLength   = 32
	addressLength = 1000

	shortestPassword = 8
	longestPassword  = 128

	preferencesSize = 16 << 10 // bytes
)

// readUser reads what users may say of themselves. What the client leaves out stays as it is in current.
func readUser(fields *httpapi.Fields, current user) user {
	changed := current
	changed.Email = fields.Email("email", current.Email, true)
	changed.Username = readUsername(fields, current.Username)
	changed.FirstName = fields.Text("first_name", current.FirstName, httpapi.Text{Blank: true, Max: nameLength})
	changed.LastName = fields.Text("last_name", current.LastName, httpapi.Text{Blank: true, Max: nameLength})
	changed.Phone = fields.Text("phone", current.Phone, httpapi.Text{Blank: true, Max: phoneLength})
	changed.Address = fields.Text("address", current.Address, httpapi.Text{Blank: true, Max: addressLength})
	changed.EmailKey, changed.UsernameKey = fold(changed.Email), fold(changed.Username)
	return changed
}

// readProfile reads the part of a user that has an object of its own.
func readProfile(fields *httpapi.Fields, u *user) {
	profile, sent := fields.Nested("profile")
	if !sent {
		return
	}
	u.Avatar = profile.URL("avatar", u.Avatar)
	u.Preferences = string(profile.Object("preferences", json.RawMessage(u.Preferences), preferencesSize))
}

// usernamePattern is Django's.
var usernamePattern = regexp.MustCompile(`^[\p{L}\p{N}_.@+-]+$`)

// readUsername reads a username in Unicode's compatible composed form, in which look-alikes such as full-width
// letters are the plain ones.
func readUsername(fields *httpapi.Fields, current string) string {
	text := fields.Text("username", current, httpapi.Text{Required: true, Max: nameLength})
	if !fields.Sent("username") || !fields.Valid("username") {
		return text
	}
	username := norm.NFKC.String(text)
	if !usernamePattern.MatchString(username) || utf8.RuneCountInString(username) > nameLength {
		fields.Reject("username", "Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ characters.")
	}
	return username
}

// readNewPassword reads a password that a user chooses, and the field of the same name and _confirm.
func readNewPassword(fields *httpapi.Fields, name string, u user) string {
	rule := httpapi.Text{Required: true, Verbatim: true, Max: longestPassword}
	password := fields.Text(name, "", rule)
	if fields.Sent(name) && fields.Valid(name) {
		for _, fault := range passwordFaults(password, u) {
			fields.Reject(name, fault)
		}
	}
	again := name + "_confirm"
	confirm := fields.Text(again, "", rule)
	if fields.Sent(name) && fields.Sent(again) && fields.Valid(again) && confirm != password {
		fields.Reject(again, "Passwords do not match.")
	}
	return password
}

//go:embed common_passwords.txt
var commonPasswords string

// passwordFaults tells what is wrong with a password, in Django's words and order. Spaces around it count,
// its case does not.
func passwordFaults(password string, u user) (faults []string) {
	lower := strings.ToLower(password)
	if isSimilar(lower, u.Username) {
		faults = append(faults, "The password is too similar to the username.")
	}
	if isSimilar(lower, u.Email) {
		faults = append(faults, "The password is too similar to the email.")
	}
	if utf8.RuneCountInString(password) < shortestPassword {
		faults = append(faults, fmt.Sprintf("This password is too short. It must contain at least %d characters.", shortestPassword))
	}
	if strings.Contains("\n"+commonPasswords, "\n"+lower+"\n") {
		faults = append(faults, "This password is too common.")
	}
	if strings.TrimFunc(password, unicode.IsDigit) == "" {
		faults = append(faults, "This password is entirely numeric.")
	}
	return faults
}

var wordBreak = regexp.MustCompile(`[^\p{L}\p{N}_]+`)

// isSimilar compares a lower-case password with a text and with each word of it.
func isSimilar(password, text string) bool {
	text = strings.ToLower(text)
	for _, word := range append(wordBreak.Split(text, -1), text) {
		if likeness(password, word) >= 0.7 { // Django's limit
			return true
		}
	}
	return false
}

// likeness is the share of two texts' characters that they have in common, in whatever order: from 0 to 1.
func likeness(a, b string) float64 {
	unmatched := map[rune]int{}
	for _, char := range a {
		unmatched[char]++
	}
	common := 0
	for _, char := range b {
		if unmatched[char] > 0 {
			unmatched[char]--
			common++
		}
	}
	total := utf8.RuneCountInString(a) + utf8.RuneCountInString(b)
	return 2 * float64(common) / float64(max(total, 1))
}
