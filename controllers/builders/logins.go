package builders

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	shopv1 "github.com/shopkeeper-dev/shopkeeper/api/v1alpha1"
)

const (
	// databaseSuperuser is reached by the socket in PostgreSQL's own pod alone.
	databaseSuperuser = "postgres"
	// loginPrefix begins the name of every role that the shop logs in as.
	loginPrefix = databaseUser + "_"
)

// loginName is the role that has a password. Another password is another role,
// so that the one of before is good until the last pod that uses it has gone.
func loginName(password string) string { return loginPrefix + shortHash(password) }

// loginScript makes the database's roles what they should be, whatever they are:
// the owner of all data, the role that logs in as it, and, once nobody uses
// them, none of before.
func loginScript(password string, isAlone bool) string {
	login := loginName(password)
	lines := []string{
		`SET client_min_messages = 'warning';`,
		`SET log_statement = 'none';`,
		`SET log_min_duration_statement = -1;`,
		fmt.Sprintf(`SELECT 'CREATE ROLE %s NOLOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[1]s') \gexec`, databaseUser),
		fmt.Sprintf(`ALTER DATABASE %s OWNER TO %[1]s;`, databaseUser),
		fmt.Sprintf(`SELECT 'CREATE ROLE %s' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[1]s') \gexec`, login),
		fmt.Sprintf(`ALTER ROLE %s LOGIN PASSWORD %s;`, login, literal(password)),
		fmt.Sprintf(`GRANT %s TO %s;`, databaseUser, login),
		fmt.Sprintf(`ALTER ROLE %s SET role = '%s';`, login, databaseUser),
		fmt.Sprintf(`ALTER ROLE %s PASSWORD NULL;`, databaseSuperuser),
	}
	if isAlone {
		others := fmt.Sprintf(`rolname ~ '^%s[0-9a-f]{10}$' AND rolname <> '%s'`, loginPrefix, login)
		lines = append(lines,
			`SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_roles ON usesysid = pg_roles.oid WHERE `+others+`;`,
			`SELECT 'DROP ROLE ' || rolname FROM pg_roles WHERE `+others+` \gexec`)
	}
	return strings.Join(lines, "\n") + "\n"
}

// IsLoginAlone reports whether no login but that of the credentials is left. It
// stays so until there are others.
func IsLoginAlone(database *corev1.Secret, credentials Credentials) bool {
	return value(database, keyLoginScript) == loginScript(credentials.DatabasePassword, true)
}

// literal is text as PostgreSQL reads it between quotes, with nothing in it that
// psql would read as a variable.
func literal(text string) string {
	text = strings.NewReplacer(`\`, `\\`, `'`, `\'`, ":", `\x3a`).Replace(text)
	return `E'` + text + `'`
}

// loginsCommand runs the script at the start and whenever it has changed, which
// the kubelet brings within some ninety seconds; and every minute, should
// someone have changed a role by hand.
//
// It ends when the volume has less than a twentieth and less than a gibibyte
// left: PostgreSQL would go on until it crashes, while this container's last word
// reaches the Shop's conditions at once, and Kubernetes starts it again until
// there is room.
const loginsCommand = `trap exit TERM
script=/etc/postgresql-secrets/login.sql
applied=
second=0
while :; do
  if [ $((second % 5)) = 0 ]; then
    set -- $(df -Pk $PGVOLUME | tail -n 1)
    if [ "${4:-1048576}" -lt 1048576 ] && [ "$4" -lt $(($2 / 20)) ]; then
      echo "only $(($4 / 1024)) of $(($2 / 1024)) MiB of space left on device" >&2
      exit 1
    fi
  fi
  wanted=$(cat $script)
  if [ "$wanted" != "$applied" ] || [ $((second % 60)) = 0 ]; then
    if psql --no-psqlrc --quiet --output=/dev/null --set=ON_ERROR_STOP=1 --file=$script; then
      applied=$wanted
      : >/tmp/applied
    fi
  fi
  second=$((second + 1))
  sleep 1 &
  wait $!
done
`

// loginsContainer keeps the roles of PostgreSQL as the Secret says, and an eye on
// the volume. It stands
// beside PostgreSQL and speaks to it by its socket, where the superuser needs no
// password: so the operator is no client of any database, and a password that
// nobody knows any more can still be replaced.
func loginsContainer(shop *shopv1.Shop, image string) *corev1ac.ContainerApplyConfiguration {
	resources := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
	}
	return restrictedContainer(shop, "logins", image, resources).
		WithCommand("sh", "-c", loginsCommand).
		WithEnv(
			corev1ac.EnvVar().WithName("PGHOST").WithValue(databaseSocket),
			corev1ac.EnvVar().WithName("PGUSER").WithValue(databaseSuperuser),
			corev1ac.EnvVar().WithName("PGDATABASE").WithValue(databaseUser),
			corev1ac.EnvVar().WithName("PGCONNECT_TIMEOUT").WithValue("5"),
			corev1ac.EnvVar().WithName("PGVOLUME").WithValue(databaseFolder)).
		WithStartupProbe(execProbe("test", "-e", "/tmp/applied").WithPeriodSeconds(1).WithFailureThreshold(3600))
}
