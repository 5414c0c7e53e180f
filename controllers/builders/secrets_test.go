package builders

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	corev1 "k8s.io/api/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

func TestCompleteKeepsWhatIsKnown(t *testing.T) {
	known := Credentials{DatabasePassword: "a", RedisPassword: "b", SigningKeys: "c:d", AdminPassword: "e"}
	complete, err := known.Complete(&shopv1.Shop{}, iotest.ErrReader(errors.New("asked for random")))
	if err != nil || complete != known {
		t.Errorf("%+v, %v", complete, err)
	}
}

func TestCompleteMakesUpTheRest(t *testing.T) {
	first, err := Credentials{RedisPassword: "b"}.Complete(&shopv1.Shop{}, strings.NewReader(strings.Repeat("x", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	id, key, _ := strings.Cut(first.SigningKeys, ":")
	if len(first.DatabasePassword) != 24 || first.RedisPassword != "b" || len(first.AdminPassword) != 24 || id == "" || len(key) != 43 {
		t.Errorf("%+v", first)
	}
	if strings.ContainsAny(first.DatabasePassword+id+key, ":,/@ \n") {
		t.Errorf("a character that a URL or a list would mind: %+v", first)
	}
}

func TestCompleteLeavesToOthersWhatIsTheirs(t *testing.T) {
	shop := &shopv1.Shop{}
	shop.Spec.Auth.SigningKeySecretRef = &shopv1.SecretKeyRef{Name: "keys"}
	shop.Spec.Admin.PasswordSecretRef = &shopv1.SecretKeyRef{Name: "owner"}
	complete, err := Credentials{SigningKeys: "old:key", AdminPassword: "old"}.Complete(shop, strings.NewReader(strings.Repeat("x", 1000)))
	if err != nil || complete.SigningKeys != "" || complete.AdminPassword != "" {
		t.Errorf("%+v, %v", complete, err)
	}
}

func TestCompleteWithoutRandom(t *testing.T) {
	_, err := Credentials{}.Complete(&shopv1.Shop{}, strings.NewReader("short"))
	if err == nil {
		t.Error("credentials out of nothing")
	}
}

func TestKnownCredentials(t *testing.T) {
	secret := func(data map[string]string) *corev1.Secret {
		secret := &corev1.Secret{Data: map[string][]byte{}}
		for key, value := range data {
			secret.Data[key] = []byte(value)
		}
		return secret
	}
	for name, test := range map[string]struct {
		database *corev1.Secret
		want     string
	}{
		"no Secret":              {nil, ""},
		"its key":                {secret(map[string]string{"password": "a", "url": "postgres://shop:b@host/shop"}), "a"},
		"only in the URL":        {secret(map[string]string{"url": "postgres://shop:b%40@host/shop"}), "b@"},
		"emptied":                {secret(map[string]string{"password": "", "url": "postgres://shop:b@host/shop"}), "b"},
		"a URL without password": {secret(map[string]string{"url": "postgres://host/shop"}), ""},
		"a URL that is none":     {secret(map[string]string{"url": "://"}), ""},
	} {
		if got := KnownCredentials(test.database, nil, nil, nil); got != (Credentials{DatabasePassword: test.want}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
