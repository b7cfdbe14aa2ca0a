package table

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Databases that a [Query] can be asked of.
const (
	Postgres = "postgres"
	MySQL    = "mysql" // and MariaDB
)

// address is a DSN taken apart.
type address struct {
	driver     string
	user, pass string
	host, port string
	socket     string // for PostgreSQL the folder of it
	db         string
	tls        string // "", "off" or "verify"
	ca         string // file of certificates; "" for those of the system
}

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces each ${NAME}. In part of a URL the value is escaped, so that a
// password may hold any character; a DSN that is one reference is taken as it is.
func expand(dsn string, env func(string) (string, bool)) (string, error) {
	if env == nil {
		env = os.LookupEnv
	}
	whole := reference.FindString(dsn) == dsn
	var missing string
	out := reference.ReplaceAllStringFunc(dsn, func(ref string) string {
		name := ref[2 : len(ref)-1]
		v, ok := env(name)
		if !ok {
			missing = name
		}
		if whole {
			return v
		}
		return strings.ReplaceAll(url.QueryEscape(v), "+", "%20")
	})
	if missing != "" {
		return "", fmt.Errorf("the environment has no variable %s, which the address of the database names", missing)
	}
	return out, nil
}

// parseDSN reads a URL such as postgres://user:password@host:5432/database?tls=off.
// Its errors quote nothing of it that may be secret.
func parseDSN(driver, dsn string) (address, error) {
	a := address{driver: driver}
	form := "write it as " + driver + "://USER:PASSWORD@HOST/DATABASE, with what is special in a password escaped or in a variable, as ${NAME}"
	u, err := url.Parse(dsn)
	if err != nil || u.Opaque != "" {
		return a, fmt.Errorf("the address of the database is no URL; %s", form)
	}
	switch u.Scheme {
	case "postgres", "postgresql":
		u.Scheme = Postgres
	case "mysql", "mariadb":
		u.Scheme = MySQL
	}
	if u.Scheme != driver {
		return a, fmt.Errorf("the address of the database does not begin with %s://; %s", driver, form)
	}
	a.user = u.User.Username()
	a.pass, _ = u.User.Password()
	a.host, a.port, a.db = u.Hostname(), u.Port(), strings.Trim(u.Path, "/")
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return a, fmt.Errorf("the parameters in the address of the database cannot be read; %s", form)
	}
	for _, k := range slices.Sorted(maps.Keys(q)) {
		if err := a.set(k, q.Get(k)); err != nil {
			return a, err
		}
	}
	switch {
	case a.host == "" && a.socket == "":
		return a, fmt.Errorf("the address of the database names no host; %s", form)
	case a.user == "":
		return a, fmt.Errorf("the address of the database names no user; %s", form)
	case a.db == "":
		return a, fmt.Errorf("the address of the database names no database; %s", form)
	}
	if a.port == "" {
		a.port = map[string]string{Postgres: "5432", MySQL: "3306"}[driver]
	}
	return a, nil
}

// set takes a parameter of the URL. The names that the databases' own tools use
// for TLS are understood where they mean one of our two modes.
func (a *address) set(key, v string) error {
	switch key {
	case "tls":
		if v != "off" && v != "verify" {
			return fmt.Errorf("tls in the address of the database is neither off nor verify")
		}
		a.tls = v
	case "sslmode":
		switch v {
		case "disable":
			a.tls = "off"
		case "require", "verify-ca", "verify-full":
			a.tls = "verify"
		default:
			return fmt.Errorf("sslmode in the address of the database may fall back to an open connection; use verify-full or disable")
		}
	case "tls_ca", "sslrootcert":
		a.ca = v
	case "socket", "host":
		if !strings.HasPrefix(v, "/") {
			return fmt.Errorf("%s in the address of the database is no full path; name a host between the slashes instead", key)
		}
		a.socket = v
	case "port":
		a.port = v
	default:
		return fmt.Errorf("the address of the database has a parameter %s that is not known; the known ones are tls, tls_ca, socket", quote(key))
	}
	return nil
}

// String shows the address without its password.
func (a address) String() string {
	at := net.JoinHostPort(a.host, a.port)
	if a.socket != "" {
		at = a.socket
	}
	return a.driver + "://" + a.user + "@" + at + "/" + a.db
}

func (a address) loopback() bool {
	ip := net.ParseIP(a.host)
	return a.socket != "" || a.host == "localhost" || ip != nil && ip.IsLoopback()
}

// tlsConfig returns nil where the connection is not encrypted: within this
// machine, unless the address says tls=verify, or where it says tls=off.
func (a address) tlsConfig() (*tls.Config, error) {
	if a.tls == "off" || a.tls == "" && a.loopback() || a.socket != "" {
		return nil, nil
	}
	c := &tls.Config{ServerName: a.host, MinVersion: tls.VersionTLS12}
	if a.ca != "" {
		pem, err := os.ReadFile(a.ca)
		if err != nil {
			return nil, fmt.Errorf("reading tls_ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: %s holds no certificate in PEM", a.ca)
		}
	}
	return c, nil
}

// scrub takes the password out of a text that a driver made.
func (a address) scrub(s string) string {
	for _, secret := range []string{a.pass, url.QueryEscape(a.pass), url.PathEscape(a.pass)} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}

// MaskDSN returns a DSN that can be shown: without its password, unless that is a
// reference to the environment, and without what is not known to be harmless.
func MaskDSN(dsn string) string {
	const mask = "***"
	if reference.FindString(dsn) == dsn {
		return dsn
	}
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok {
		return mask
	}
	rest, query, hasQuery := strings.Cut(rest, "?")
	out := scheme + "://"
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user, pass, has := strings.Cut(rest[:i], ":")
		if has && reference.FindString(pass) != pass {
			pass = mask
		}
		if out += user; has {
			out += ":" + pass
		}
		rest = rest[i:]
	}
	out += rest
	if !hasQuery {
		return out
	}
	var kept []string
	for _, kv := range strings.Split(query, "&") {
		k, _, _ := strings.Cut(kv, "=")
		if !slices.Contains([]string{"tls", "tls_ca", "sslmode", "sslrootcert", "socket", "host", "port"}, k) {
			kv = mask
		}
		kept = append(kept, kv)
	}
	return out + "?" + strings.Join(kept, "&")
}
