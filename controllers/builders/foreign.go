package builders

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Check says what is wrong with the value of a Secret that the spec refers to.
// It holds it against what the server would refuse at its start, so that no pod
// is restarted for it. Its errors tell nothing of the value: it is a secret.
func (f ForeignSecret) Check(value string) error {
	value = strings.TrimSpace(value)
	if value == "" {
		return errors.New("it is empty")
	}
	switch {
	case strings.HasPrefix(f.Field, "spec.database."):
		return checkURL(value, "postgres", "postgresql")
	case strings.HasPrefix(f.Field, "spec.redis."):
		return checkURL(value, "redis", "rediss")
	case strings.HasPrefix(f.Field, "spec.auth."):
		_, err := parseSigningKeys(value)
		return err
	case strings.HasPrefix(f.Field, "spec.admin."):
		if length := utf8.RuneCountInString(value); length < 8 || length > 128 {
			return fmt.Errorf("it has %d characters, and a password has 8 to 128", length)
		}
	case strings.HasPrefix(f.Field, "spec.ingress."):
		if block, _ := pem.Decode([]byte(value)); block == nil {
			return errors.New("it is no PEM: a line -----BEGIN …----- and what follows")
		}
	}
	return nil
}

func checkURL(value string, schemes ...string) error {
	address, err := url.Parse(value)
	if err != nil {
		return errors.New("it is no URL: characters of a password that mean something in a URL are written in percent")
	}
	if !slices.Contains(schemes, address.Scheme) {
		return fmt.Errorf("it is no URL of the form %s://user:password@host:port/name", schemes[0])
	}
	return nil
}
