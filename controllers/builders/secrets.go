package builders

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

// The keys of the shop's Secrets.
const (
	keyUsername    = "username"
	keyPassword    = "password"
	keyDatabase    = "database"
	keyHost        = "host"
	keyPort        = "port"
	keyURL         = "url"
	keyLoginScript = "login.sql"
	keyRedisConf   = "redis.conf"
	keySigningKeys = "signing-keys"
	keyEmail       = "email"
)

// databaseUser is the PostgreSQL role that owns the shop's data, and its database.
const databaseUser = "shop"

// Credentials are what the operator makes up for a shop, once.
type Credentials struct {
	DatabasePassword string
	RedisPassword    string
	SigningKeys      string // as SHOP_SIGNING_KEYS wants them, but for those of before
	AdminPassword    string
	Foreign          string // what the pods read from Secrets of others

	// IsDatabaseLoginAlone says that every pod uses this password of the database,
	// so that those of before can go.
	IsDatabaseLoginAlone bool

	// Keyring is what the pods sign and verify with, as a Keyring writes it.
	Keyring string

	// Running is the hash that the pods were started with, when they should not be
	// restarted: a Secret of others is not fit to start with.
	Running string
}

// KnownCredentials reads what was made before. A Secret may be nil, and a key
// may be gone: a password is then found again in the URL beside it.
func KnownCredentials(database, redis, auth, admin *corev1.Secret) Credentials {
	return Credentials{
		DatabasePassword: password(database),
		RedisPassword:    password(redis),
		SigningKeys:      value(auth, keySigningKeys),
		AdminPassword:    value(admin, keyPassword),
	}
}

// Complete makes up, out of random, what the shop needs and is not known; and
// leaves empty what the spec takes from Secrets of others.
func (c Credentials) Complete(shop *shopv1.Shop, random io.Reader) (Credentials, error) {
	complete := Credentials{Foreign: c.Foreign, Running: c.Running}
	for _, credential := range []struct {
		into   *string
		known  string
		needed bool
		makeUp func(io.Reader) (string, error)
	}{
		{&complete.DatabasePassword, c.DatabasePassword, shop.Spec.Database.External == nil, newPassword},
		{&complete.RedisPassword, c.RedisPassword, shop.Spec.Redis.External == nil, newPassword},
		{&complete.SigningKeys, c.SigningKeys, shop.Spec.Auth.SigningKeySecretRef == nil, newSigningKeys},
		{&complete.AdminPassword, c.AdminPassword, shop.Spec.Admin.PasswordSecretRef == nil, newPassword},
	} {
		if !credential.needed {
			continue
		}
		if *credential.into = credential.known; credential.known != "" {
			continue
		}
		madeUp, err := credential.makeUp(random)
		if err != nil {
			return Credentials{}, fmt.Errorf("make up a credential: %w", err)
		}
		*credential.into = madeUp
	}
	return complete, nil
}

// newPassword has 144 bits of random, and no character that a URL, a shell or a
// configuration file would mind.
func newPassword(random io.Reader) (string, error) { return text(random, 18) }

// newSigningKeys is one HS256 key of 256 bits, with an id of its own so that a
// later one can stand beside it.
func newSigningKeys(random io.Reader) (string, error) {
	id, err := text(random, 6)
	if err != nil {
		return "", err
	}
	key, err := text(random, 32)
	return id + ":" + key, err
}

func text(random io.Reader, size int) (string, error) {
	bytes := make([]byte, size)
	_, err := io.ReadFull(random, bytes)
	return base64.RawURLEncoding.EncodeToString(bytes), err
}

// Hash changes when pods that use the credentials have to restart.
func (c Credentials) Hash() string {
	if c.Running != "" {
		return c.Running
	}
	parts := []string{c.DatabasePassword, c.RedisPassword, c.Keyring, c.AdminPassword}
	if c.Foreign != "" {
		parts = append(parts, c.Foreign)
	}
	return shortHash(parts...)
}

// DatabaseSecret has the login of the database. It has no owner: like the data,
// it outlives the Shop, so that the same Shop applied again finds both.
func DatabaseSecret(shop *shopv1.Shop, credentials Credentials) *corev1ac.SecretApplyConfiguration {
	host := serviceHost(shop, DatabaseName(shop))
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(loginName(credentials.DatabasePassword), credentials.DatabasePassword),
		Host:     host + ":5432",
		Path:     "/" + databaseUser,
		RawQuery: "sslmode=disable",
	}
	return keptSecret(shop, DatabaseName(shop), ComponentDatabase, map[string]string{
		keyUsername: loginName(credentials.DatabasePassword),
		keyPassword: credentials.DatabasePassword,
		keyDatabase: databaseUser,
		keyHost:     host,
		keyPort:     "5432",
		keyURL:      address.String(),

		keyLoginScript: loginScript(credentials.DatabasePassword, credentials.IsDatabaseLoginAlone),
	})
}

// RedisSecret has the login of Redis and its configuration, which has the
// password in it.
func RedisSecret(shop *shopv1.Shop, credentials Credentials) *corev1ac.SecretApplyConfiguration {
	address := url.URL{
		Scheme: "redis",
		User:   url.UserPassword("", credentials.RedisPassword),
		Host:   serviceHost(shop, RedisName(shop)) + ":6379",
		Path:   "/0",
	}
	return secret(shop, RedisName(shop), ComponentRedis, map[string]string{
		keyPassword:  credentials.RedisPassword,
		keyURL:       address.String(),
		keyRedisConf: redisConf(shop, credentials.RedisPassword),
	}).WithOwnerReferences(owner(shop))
}

// AuthSecret has the keys that sign tokens. It outlives the Shop, so that
// nobody is logged out when the same Shop is applied again.
func AuthSecret(shop *shopv1.Shop, credentials Credentials) *corev1ac.SecretApplyConfiguration {
	return keptSecret(shop, AuthName(shop), ComponentServer, map[string]string{keySigningKeys: credentials.SigningKeys})
}

// AdminSecret has the login of the first staff user. It outlives the Shop, as
// the user does in the database.
func AdminSecret(shop *shopv1.Shop, credentials Credentials) *corev1ac.SecretApplyConfiguration {
	return keptSecret(shop, AdminName(shop), ComponentServer, map[string]string{
		keyEmail:    shop.Spec.Admin.Email,
		keyPassword: credentials.AdminPassword,
	})
}

// keptSecret outlives the Shop, unless the spec says that the data goes with it.
func keptSecret(shop *shopv1.Shop, name string, component Component, values map[string]string) *corev1ac.SecretApplyConfiguration {
	kept := secret(shop, name, component, values)
	if GoesWithShop(shop) {
		kept.WithOwnerReferences(owner(shop))
	}
	return kept
}

func secret(shop *shopv1.Shop, name string, component Component, values map[string]string) *corev1ac.SecretApplyConfiguration {
	data := map[string][]byte{}
	for key, value := range values {
		data[key] = []byte(value)
	}
	return corev1ac.Secret(name, shop.Namespace).
		WithLabels(ChildLabels(shop, component)).
		WithType(corev1.SecretTypeOpaque).
		WithData(data)
}

// SigningKeysRef is where the server's signing keys are: in the Secret that the
// spec names, or in the one the operator makes.
func SigningKeysRef(shop *shopv1.Shop) shopv1.SecretKeyRef {
	return refOr(shop.Spec.Auth.SigningKeySecretRef, AuthName(shop), keySigningKeys)
}

// OwnSigningKeys are those that the operator made, which someone may have changed
// into what are none.
func OwnSigningKeys(shop *shopv1.Shop) ForeignSecret {
	return ForeignSecret{"spec.auth.signingKeySecretRef by default", SigningKeysRef(shop), []Component{ComponentAPI, ComponentNotifications}}
}

// AdminPasswordRef is where the first staff user's password is.
func AdminPasswordRef(shop *shopv1.Shop) shopv1.SecretKeyRef {
	return refOr(shop.Spec.Admin.PasswordSecretRef, AdminName(shop), keyPassword)
}

// DatabaseURLRef is where the URL of the database is.
func DatabaseURLRef(shop *shopv1.Shop) shopv1.SecretKeyRef {
	return refOr(externalURL(shop.Spec.Database.External), DatabaseName(shop), keyURL)
}

// RedisURLRef is where the URL of Redis is.
func RedisURLRef(shop *shopv1.Shop) shopv1.SecretKeyRef {
	return refOr(externalURL(shop.Spec.Redis.External), RedisName(shop), keyURL)
}

func externalURL(external *shopv1.ExternalServer) *shopv1.SecretKeyRef {
	if external == nil {
		return nil
	}
	return &external.URLSecretRef
}

// SecretNames are the names of the Secrets that the operator makes.
func SecretNames(shop *shopv1.Shop) []string {
	return []string{DatabaseName(shop), RedisName(shop), AuthName(shop), KeyringName(shop), AdminName(shop)}
}

// ForeignSecret is a key of a Secret of others that the spec refers to.
type ForeignSecret struct {
	Field string // of the spec
	Ref   shopv1.SecretKeyRef
	Users []Component // that do not work without it
}

// ForeignSecrets are all that the spec refers to.
func ForeignSecrets(shop *shopv1.Shop) []ForeignSecret {
	var secrets []ForeignSecret
	if shop.Spec.Database.External != nil {
		secrets = append(secrets, ForeignSecret{"spec.database.external.urlSecretRef", DatabaseURLRef(shop), []Component{ComponentDatabase, ComponentMigration, ComponentAPI, ComponentNotifications}})
	}
	if shop.Spec.Redis.External != nil {
		secrets = append(secrets, ForeignSecret{"spec.redis.external.urlSecretRef", RedisURLRef(shop), []Component{ComponentRedis, ComponentAPI, ComponentNotifications}})
	}
	if shop.Spec.Auth.SigningKeySecretRef != nil {
		secrets = append(secrets, ForeignSecret{"spec.auth.signingKeySecretRef", SigningKeysRef(shop), []Component{ComponentAPI, ComponentNotifications}})
	}
	if shop.Spec.Admin.PasswordSecretRef != nil {
		secrets = append(secrets, ForeignSecret{"spec.admin.passwordSecretRef", AdminPasswordRef(shop), []Component{ComponentAPI}})
	}
	if ingress := shop.Spec.Ingress; ingress != nil && ingress.TLS != nil && ingress.TLS.SecretName != nil {
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			ref := shopv1.SecretKeyRef{Name: *ingress.TLS.SecretName, Key: key}
			secrets = append(secrets, ForeignSecret{"spec.ingress.tls.secretName", ref, []Component{ComponentIngress}})
		}
	}
	return secrets
}

// IsForPods reports whether pods read it.
func (f ForeignSecret) IsForPods() bool { return !slices.Equal(f.Users, []Component{ComponentIngress}) }

func refOr(ref *shopv1.SecretKeyRef, name, key string) shopv1.SecretKeyRef {
	if ref == nil {
		return shopv1.SecretKeyRef{Name: name, Key: key}
	}
	if ref.Key == "" {
		return shopv1.SecretKeyRef{Name: ref.Name, Key: key}
	}
	return *ref
}

// serviceHost is the name of a Service that resolves in the whole cluster.
func serviceHost(shop *shopv1.Shop, service string) string {
	return service + "." + shop.Namespace + ".svc"
}

func value(secret *corev1.Secret, key string) string {
	if secret == nil {
		return ""
	}
	return string(secret.Data[key])
}

func password(secret *corev1.Secret) string {
	if known := value(secret, keyPassword); known != "" {
		return known
	}
	address, err := url.Parse(value(secret, keyURL))
	if err != nil {
		return ""
	}
	known, _ := address.User.Password()
	return known
}

// shortHash is a digest of its parts, short enough for a name.
func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:5])
}
